-- Record failed runs: unlock, put off by the back-off of Graphile Worker or to the chosen time, free
-- the queues. All arrays are in the order of the ids.
-- Rows that somebody else holds are waited for shortly: one job must not keep the others back.
-- $1 text           pool id
-- $2 bigint[]       job ids
-- $3 text[]         error texts
-- $4 timestamptz[]  chosen moments of the next attempt, or null
-- $5 interval[]     chosen delays until the next attempt, or null
-- $6 bool[]         whether this was the last attempt, whatever max_attempts says
-- $7 text[]         payloads that replace the old ones, as JSON text, or null
-- returns           the ids that were written; a missing one was no longer this pool's
with patience as materialized (
    select set_config('lock_timeout', '500', true) as milliseconds
),
failed as (
    update {schema}._private_jobs as jobs
    set last_error = failures.error,
        run_at = coalesce(
            failures.at,
            now() + failures.delay,
            greatest(now(), jobs.run_at) + exp(least(jobs.attempts, 10)) * interval '1 second'
        ),
        attempts = case
            when failures.final then greatest(jobs.attempts, jobs.max_attempts)
            else jobs.attempts
        end,
        payload = coalesce(failures.payload::json, jobs.payload),
        locked_by = null,
        locked_at = null
    from unnest($2::bigint[], $3::text[], $4::timestamptz[], $5::interval[], $6::bool[], $7::text[])
        as failures (id, error, at, delay, final, payload)
    where jobs.id = failures.id and jobs.locked_by = $1::text
      and (select milliseconds from patience) is not null
    returning jobs.id, jobs.job_queue_id
),
freed as (
    update {schema}._private_job_queues as queues
    set locked_by = null, locked_at = null
    where queues.locked_by = $1::text
      and queues.id in (select job_queue_id from failed)
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
select id from failed
