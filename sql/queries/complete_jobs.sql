-- Delete jobs that succeeded and free their queues, if this pool still holds them.
-- Rows that somebody else holds are waited for shortly: one job must not keep the others back.
-- $1 text      pool id
-- $2 bigint[]  job ids
-- returns      the ids that were not deleted: no longer this pool's. As a rule there are none
with patience as materialized (
    select set_config('lock_timeout', '500', true) as milliseconds
),
done as (
    delete from {schema}._private_jobs as jobs
    where jobs.id = any ($2::bigint[]) and jobs.locked_by = $1::text
      and (select milliseconds from patience) is not null
    returning jobs.id, jobs.job_queue_id
),
freed as (
    update {schema}._private_job_queues as queues
    set locked_by = null, locked_at = null
    where queues.locked_by = $1::text
      and queues.id in (select job_queue_id from done)
      and queues.id not in (
          select jobs.job_queue_id
          from {schema}._private_jobs as jobs
          where hashtext(jobs.locked_by) = hashtext($1::text)
            and jobs.locked_by = $1::text
            and jobs.locked_at is not null
            and jobs.job_queue_id is not null
            and jobs.id not in (select unnest($2::bigint[]))
      )
)
select given.id
from unnest($2::bigint[]) as given (id)
where (select count(*) from done) <> cardinality($2::bigint[])
  and given.id not in (select done.id from done)
