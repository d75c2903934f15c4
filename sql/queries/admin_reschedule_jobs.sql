-- Change when and how jobs run, by hand. Jobs that are running stay; null leaves a column alone.
-- $1 bigint[]     job ids
-- $2 timestamptz  not before
-- $3 int          priority
-- $4 int          attempts
-- $5 int          maximum number of attempts
-- returns         the jobs that were changed
select
    jobs.id,
    tasks.identifier as task_identifier,
    queues.queue_name,
    jobs.payload::text as payload_json,
    jobs.priority, jobs.run_at, jobs.attempts, jobs.max_attempts, jobs.last_error,
    jobs.created_at, jobs.updated_at, jobs.key, jobs.revision, jobs.locked_at, jobs.locked_by,
    jobs.flags::text as flags_json, jobs.traceparent, jobs.tracestate
from {schema}.reschedule_jobs(
    $1::bigint[],
    run_at => $2::timestamptz,
    priority => $3::int,
    attempts => $4::int,
    max_attempts => $5::int
) as jobs
left join {schema}._private_tasks as tasks on tasks.id = jobs.task_id
left join {schema}._private_job_queues as queues on queues.id = jobs.job_queue_id
