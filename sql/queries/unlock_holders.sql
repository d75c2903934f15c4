-- Read who holds locks on jobs and queues, the oldest first.
-- returns  pool_id, jobs, queues, held_for (the oldest lock)
select
    coalesce(held.locked_by, '') as pool_id,
    sum(held.jobs)::int as jobs,
    sum(held.queues)::int as queues,
    now() - min(held.locked_at) as held_for
from (
    select jobs.locked_by, 1 as jobs, 0 as queues, jobs.locked_at
    from {schema}._private_jobs as jobs
    where jobs.locked_at is not null
    union all
    select queues.locked_by, 0, 1, queues.locked_at
    from {schema}._private_job_queues as queues
    where queues.locked_at is not null
) as held
group by held.locked_by
order by held_for desc, pool_id
