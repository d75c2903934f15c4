
-- What a worker does: fetch, write outcomes, beat, add jobs and recurring jobs. It may not migrate.
grant usage on schema {schema} to {role};
grant select on {schema}.migrations, {schema}._kongtask_migrations, {schema}.jobs to {role};
grant select, insert, update, delete
    on {schema}._private_jobs, {schema}._kongtask_pools
    to {role};
grant select, insert, update
    on {schema}._private_job_queues, {schema}._private_known_crontabs
    to {role};
grant select, insert on {schema}._private_tasks to {role};
grant execute on all functions in schema {schema} to {role};

-- Graphile Worker hides all rows from whoever does not own the tables; these policies show them.
drop policy if exists {policy} on {schema}._private_jobs;
create policy {policy} on {schema}._private_jobs to {role} using (true) with check (true);
drop policy if exists {policy} on {schema}._private_job_queues;
create policy {policy} on {schema}._private_job_queues to {role} using (true) with check (true);
drop policy if exists {policy} on {schema}._private_tasks;
create policy {policy} on {schema}._private_tasks to {role} using (true) with check (true);
drop policy if exists {policy} on {schema}._private_known_crontabs;
create policy {policy} on {schema}._private_known_crontabs to {role} using (true) with check (true);
drop policy if exists {policy} on {schema}._kongtask_pools;
create policy {policy} on {schema}._kongtask_pools to {role} using (true) with check (true);
