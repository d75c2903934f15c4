-- Add one job, or change the one that has its key, as Graphile Worker's function does; a role that
-- may only add gets back what it gave.
-- $1 text         task identifier
-- $2 text         payload as JSON text
-- $3 text         queue name or null
-- $4 timestamptz  not before, or null for now
-- $5 int          maximum number of attempts or null
-- $6 text         job key or null
-- $7 int          priority or null
-- $8 text[]       flags or null
-- $9 text         job key mode or null
-- $10 text        traceparent to keep with the job, or null
-- $11 text        tracestate to keep with the job, or null
-- returns         the job; every column null when a race lost it and it must be added again
select
    jobs.id,
    jobs.payload::text as payload_json,
    jobs.priority, jobs.run_at, jobs.attempts, jobs.max_attempts, jobs.last_error,
    jobs.created_at, jobs.updated_at, jobs.key, jobs.revision, jobs.locked_at, jobs.locked_by,
    jobs.flags::text as flags_json, jobs.traceparent, jobs.tracestate
from (
    select
        set_config('kongtask.traceparent', coalesce($10::text, ''), true) as traceparent,
        set_config('kongtask.tracestate', coalesce($11::text, ''), true) as tracestate
    offset 0
) as context,
lateral {schema}._kongtask_route_job(
    identifier => $1::text || left(context.traceparent || context.tracestate, 0),
    payload => $2::text::json,
    queue_name => $3::text,
    run_at => $4::timestamptz,
    max_attempts => $5::int,
    job_key => $6::text,
    priority => $7::int,
    flags => $8::text[],
    job_key_mode => coalesce($9::text, 'replace')
) as jobs
