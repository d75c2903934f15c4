-- Remove the job with a key; one that is running loses its key and its further attempts.
-- $1 text  job key
-- returns  the job, or a row of nulls when no job has the key
select
    jobs.id,
    tasks.identifier as task_identifier,
    queues.queue_name,
    jobs.payload::text as payload_json,
    jobs.priority, jobs.run_at, jobs.attempts, jobs.max_attempts, jobs.last_error,
    jobs.created_at, jobs.updated_at, jobs.key, jobs.revision, jobs.locked_at, jobs.locked_by,
    jobs.flags::text as flags_json, jobs.traceparent, jobs.tracestate
from {schema}.remove_job($1::text) as jobs
left join {schema}._private_tasks as tasks on tasks.id = jobs.task_id
left join {schema}._private_job_queues as queues on queues.id = jobs.job_queue_id
