-- Delete jobs that succeeded, none of which has a named queue, if this pool still holds them.
-- It does what complete_jobs.sql does, without a look at queues, which takes half of its time
-- where few jobs are completed.
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
    returning jobs.id
)
select given.id
from unnest($2::bigint[]) as given (id)
where (select count(*) from done) <> cardinality($2::bigint[])
  and given.id not in (select done.id from done)
