-- Count the jobs that are running, by who runs them. Served by the partial index on locked jobs.
-- returns  locked_by and jobs, one row for each pool of workers that holds any
select coalesce(jobs.locked_by, '') as locked_by, count(*)::int as jobs
from {schema}._private_jobs as jobs
where jobs.locked_at is not null
group by jobs.locked_by
