-- Add many jobs as Graphile Worker's function does; a role that may only add gets back what it gave.
-- $1 text  JSON array of objects with the fields of job_spec
-- $2 bool  whether jobs that exist keep their run_at
-- $3 text  traceparent to keep with the jobs, or null
-- $4 text  tracestate to keep with the jobs, or null
-- returns  the jobs in no particular order
select
    jobs.id,
    jobs.task_identifier,
    jobs.queue_name,
    jobs.payload::text as payload_json,
    jobs.priority, jobs.run_at, jobs.attempts, jobs.max_attempts, jobs.last_error,
    jobs.created_at, jobs.updated_at, jobs.key, jobs.revision, jobs.locked_at, jobs.locked_by,
    jobs.flags::text as flags_json, jobs.traceparent, jobs.tracestate
from (
    select
        set_config('kongtask.traceparent', coalesce($3::text, ''), true) as traceparent,
        set_config('kongtask.tracestate', coalesce($4::text, ''), true) as tracestate
    offset 0
) as context,
lateral {schema}._kongtask_route_jobs(
    array(
        select specs
        from json_populate_recordset(
            null::{schema}.job_spec,
            ($1::text || left(context.traceparent || context.tracestate, 0))::json
        ) as specs
    ),
    $2::bool
) as jobs
