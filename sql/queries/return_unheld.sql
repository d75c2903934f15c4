-- Give back what is locked by this pool although it does not know of it: the answer to a fetch was
-- lost on its way. The attempt does not count.
-- $1 text      pool id
-- $2 bigint[]  ids of the jobs that the pool knows to hold
-- returns      the ids that were given back
with returned as (
    update {schema}._private_jobs as jobs
    set attempts = greatest(0, jobs.attempts - 1), locked_by = null, locked_at = null
    where jobs.locked_by = $1::text and jobs.id <> all ($2::bigint[])
    returning jobs.id, jobs.job_queue_id
),
freed as (
    update {schema}._private_job_queues as queues
    set locked_by = null, locked_at = null
    from returned
    where queues.id = returned.job_queue_id and queues.locked_by = $1::text
)
select id from returned
