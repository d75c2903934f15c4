-- Level 18: the functions wake the workers, and say how many jobs came.
-- The trigger that did so before could not count. What the functions send is
-- {"r": a random number, "count": jobs}; r keeps Postgres from folding equal notifications into one.
-- add_job and add_jobs learn it at level 20, which comes in the same transaction.

drop trigger if exists _900_after_insert on {schema}._private_jobs;
drop function if exists {schema}.tg_jobs__after_insert();

create or replace function {schema}.remove_job(job_key text)
returns {schema}._private_jobs
language plpgsql
strict
as $kongtask$
declare
    removed {schema}._private_jobs;
begin
    delete from {schema}._private_jobs as jobs
    where jobs.key = remove_job.job_key
      and (jobs.locked_at is null or jobs.locked_at < now() - interval '4 hours')
    returning jobs.* into removed;
    if found then
        perform pg_notify('jobs:insert', format('{"r":%s,"count":-1}', random()));
        return removed;
    end if;

    -- It runs: it shall not run again, and its key is free for another.
    update {schema}._private_jobs as jobs
    set key = null, attempts = jobs.max_attempts, updated_at = now()
    where jobs.key = remove_job.job_key
    returning jobs.* into removed;
    return removed;
end;
$kongtask$;
