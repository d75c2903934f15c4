-- Cancel jobs: those that wait are failed for good, those that run lose their further attempts and
-- their pools are told.
-- $1 bigint[]  job ids
-- $2 text      the reason
-- $3 text      channel on which pools of workers listen
-- returns      the jobs, locked or not
with cancelled as (
    update {schema}._private_jobs as jobs
    set attempts = greatest(jobs.attempts, jobs.max_attempts),
        last_error = case when jobs.locked_at is null then $2::text else jobs.last_error end,
        updated_at = now()
    where jobs.id = any ($1::bigint[])
    returning jobs.*
),
told as (
    select pg_notify(
        $3::text,
        json_build_object('pool', cancelled.locked_by, 'ids', json_agg(cancelled.id))::text
    )
    from cancelled
    where cancelled.locked_by is not null
    group by cancelled.locked_by
)
select
    jobs.id,
    tasks.identifier as task_identifier,
    queues.queue_name,
    jobs.payload::text as payload_json,
    jobs.priority, jobs.run_at, jobs.attempts, jobs.max_attempts, jobs.last_error,
    jobs.created_at, jobs.updated_at, jobs.key, jobs.revision, jobs.locked_at, jobs.locked_by,
    jobs.flags::text as flags_json, jobs.traceparent, jobs.tracestate
from cancelled as jobs
left join {schema}._private_tasks as tasks on tasks.id = jobs.task_id
left join {schema}._private_job_queues as queues on queues.id = jobs.job_queue_id
where (select count(*) from told) >= 0
