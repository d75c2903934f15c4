-- Count all jobs.
-- returns  count
select count(*) from {schema}._private_jobs
