-- Put jobs off to a chosen time, with their attempt, and free their queues.
-- Rows that somebody else holds are waited for shortly: one job must not keep the others back.
-- $1 text           pool id
-- $2 bigint[]       job ids
-- $3 timestamptz[]  moments of the next attempt, or null
-- $4 interval[]     delays until the next attempt, or null
-- returns           the ids that were written; a missing one was no longer this pool's
with patience as materialized (
    select set_config('lock_timeout', '500', true) as milliseconds
),
snoozed as (
    update {schema}._private_jobs as jobs
    set run_at = coalesce(wishes.at, now() + wishes.delay),
        attempts = greatest(0, jobs.attempts - 1),
        locked_by = null,
        locked_at = null
    from unnest($2::bigint[], $3::timestamptz[], $4::interval[]) as wishes (id, at, delay)
    where jobs.id = wishes.id and jobs.locked_by = $1::text
      and (select milliseconds from patience) is not null
    returning jobs.id, jobs.job_queue_id
),
freed as (
    update {schema}._private_job_queues as queues
    set locked_by = null, locked_at = null
    where queues.locked_by = $1::text
      and queues.id in (select job_queue_id from snoozed)
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
select id from snoozed
