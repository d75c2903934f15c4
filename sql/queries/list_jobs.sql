-- Read jobs of one state, the next to run first; those that failed for good, the latest first.
-- $1 text  waiting (could run now), scheduled (later), running or failed (for good)
-- $2 int   how many at most
-- returns  the jobs
select
    jobs.id,
    tasks.identifier as task_identifier,
    queues.queue_name,
    jobs.payload::text as payload_json,
    jobs.priority, jobs.run_at, jobs.attempts, jobs.max_attempts, jobs.last_error,
    jobs.created_at, jobs.updated_at, jobs.key, jobs.revision, jobs.locked_at, jobs.locked_by,
    jobs.flags::text as flags_json, jobs.traceparent, jobs.tracestate
from {schema}._private_jobs as jobs
join {schema}._private_tasks as tasks on tasks.id = jobs.task_id
left join {schema}._private_job_queues as queues on queues.id = jobs.job_queue_id
where case $1::text
    when 'waiting' then jobs.is_available and jobs.run_at <= now()
    when 'scheduled' then jobs.is_available and jobs.run_at > now()
    when 'running' then jobs.locked_at is not null
    when 'failed' then jobs.locked_at is null and jobs.attempts >= jobs.max_attempts
end
order by
    case when $1::text = 'failed' then 0 else jobs.priority end,
    case when $1::text = 'failed' then null else jobs.run_at end,
    case when $1::text = 'failed' then -jobs.id else jobs.id end
limit $2::int
