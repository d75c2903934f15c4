-- Record failed runs: unlock, put off by the back-off of Graphile Worker, free the queues.
-- $1 text      pool id
-- $2 bigint[]  job ids
-- $3 text[]    error texts, in the order of the ids
-- returns      the ids that were written; a missing one was no longer this pool's
with failed as (
    update {schema}._private_jobs as jobs
    set last_error = failures.error,
        run_at = greatest(now(), jobs.run_at) + exp(least(jobs.attempts, 10)) * interval '1 second',
        locked_by = null,
        locked_at = null
    from unnest($2::bigint[], $3::text[]) as failures (id, error)
    where jobs.id = failures.id and jobs.locked_by = $1::text
    returning jobs.id, jobs.job_queue_id
),
freed as (
    update {schema}._private_job_queues as queues
    set locked_by = null, locked_at = null
    from failed
    where queues.id = failed.job_queue_id and queues.locked_by = $1::text
)
select id from failed
