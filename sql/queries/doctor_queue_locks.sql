-- Read the named queues that are locked although none of their jobs runs.
-- returns  queue_name, locked_by, held_for
select
    queues.queue_name,
    coalesce(queues.locked_by, '') as locked_by,
    now() - queues.locked_at as held_for
from {schema}._private_job_queues as queues
where queues.locked_at is not null
  and not exists (
      select 1
      from {schema}._private_jobs as jobs
      where jobs.job_queue_id = queues.id and jobs.locked_at is not null
  )
order by held_for desc
limit 1000
