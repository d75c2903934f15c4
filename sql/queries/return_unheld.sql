-- Give back what is locked by this pool although it does not know of it: the answer to a fetch was
-- lost on its way, or somebody deleted a running job and left its queue locked. The attempt does
-- not count.
-- $1 text      pool id
-- $2 bigint[]  ids of the jobs that the pool knows to hold
-- returns      the ids that were given back
with returned as (
    update {schema}._private_jobs as jobs
    set attempts = greatest(0, jobs.attempts - 1), locked_by = null, locked_at = null
    where hashtext(jobs.locked_by) = hashtext($1::text)
      and jobs.locked_by = $1::text
      and jobs.locked_at is not null
      and jobs.id not in (select unnest($2::bigint[]))
    returning jobs.id
),
freed as (
    update {schema}._private_job_queues as queues
    set locked_by = null, locked_at = null
    where queues.locked_by = $1::text
      and queues.locked_at is not null
      and not exists (
          select 1
          from {schema}._private_jobs as jobs
          where jobs.job_queue_id = queues.id
            and jobs.locked_by = $1::text
            and jobs.locked_at is not null
            and jobs.id = any ($2::bigint[])
      )
)
select id from returned
