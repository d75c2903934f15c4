-- Lock the next due jobs for one pool of workers, at most one of each named queue.
-- $1 text    pool id, written to locked_by
-- $2 int[]   ids of the tasks this pool can run
-- $3 int     how many jobs at most
-- $4 text[]  flags that this pool refuses, or null
-- returns    one row a job, locked, its attempt already counted
with due as (
    select jobs.id, jobs.job_queue_id, jobs.priority, jobs.run_at
    from {schema}._private_jobs as jobs
    where jobs.is_available
      and jobs.run_at <= now()
      and jobs.task_id = any ($2::int[])
      and (
          jobs.job_queue_id is null
          or jobs.job_queue_id in (
              select queues.id
              from {schema}._private_job_queues as queues
              where queues.is_available
              for update skip locked
          )
      )
      and ($4::text[] is null or jobs.flags is null or not jobs.flags ?| $4::text[])
    order by jobs.priority, jobs.run_at
    limit $3::int
    for update skip locked
),
chosen as (
    select id, job_queue_id from due where job_queue_id is null
    union all
    (
        select distinct on (job_queue_id) id, job_queue_id
        from due
        where job_queue_id is not null
        order by job_queue_id, priority, run_at, id
    )
),
taken_queues as (
    update {schema}._private_job_queues as queues
    set locked_by = $1::text, locked_at = now()
    from chosen
    where queues.id = chosen.job_queue_id
)
update {schema}._private_jobs as jobs
set attempts = jobs.attempts + 1, locked_by = $1::text, locked_at = now()
from chosen
where jobs.id = chosen.id
returning
    jobs.id,
    jobs.task_id,
    jobs.payload::text as payload_json,
    case when jobs.job_queue_id is not null then (
        select queues.queue_name
        from {schema}._private_job_queues as queues
        where queues.id = jobs.job_queue_id
    ) end as queue_name,
    jobs.priority, jobs.run_at, jobs.attempts, jobs.max_attempts, jobs.last_error,
    jobs.created_at, jobs.updated_at, jobs.key, jobs.revision, jobs.locked_at, jobs.locked_by,
    jobs.flags::text as flags_json, jobs.traceparent, jobs.tracestate
