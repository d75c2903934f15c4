-- Delete jobs that failed for good and that nobody holds.
-- returns  how many
with gone as (
    delete from {schema}._private_jobs as jobs
    where jobs.attempts >= jobs.max_attempts and jobs.locked_at is null
    returning 1
)
select count(*)::int as count from gone
