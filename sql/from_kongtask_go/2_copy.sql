-- Copy the jobs of KongTask for Go into Graphile Worker's tables, each with its id, its attempts and
-- its key. Locks of workers that died are left behind.
-- {old} is the schema that holds the old tables, {schema} the one that holds the new ones, {literal}
-- the same inside a string.
insert into {schema}._private_tasks (identifier)
select distinct jobs.task_identifier from {old}.jobs as jobs
on conflict (identifier) do nothing;

insert into {schema}._private_job_queues (queue_name)
select distinct jobs.queue_name from {old}.jobs as jobs where jobs.queue_name is not null
on conflict (queue_name) do nothing;

insert into {schema}._private_jobs (
    id, job_queue_id, task_id, payload, priority, run_at, attempts, max_attempts, last_error,
    created_at, updated_at, key, revision, flags
) overriding system value
select
    jobs.id, queues.id, tasks.id, jobs.payload,
    greatest(-32768, least(32767, jobs.priority)),
    jobs.run_at,
    least(32767, jobs.attempts),
    greatest(1, least(32767, jobs.max_attempts)),
    jobs.last_error, jobs.created_at, jobs.updated_at, jobs.key, jobs.revision, jobs.flags
from {old}.jobs as jobs
join {schema}._private_tasks as tasks on tasks.identifier = jobs.task_identifier
left join {schema}._private_job_queues as queues on queues.queue_name = jobs.queue_name;

select setval(
    pg_get_serial_sequence('{literal}._private_jobs', 'id'),
    greatest(1, (select coalesce(max(jobs.id), 1) from {schema}._private_jobs as jobs))
);

insert into {schema}._private_known_crontabs (identifier, known_since, last_execution)
select crontabs.identifier, crontabs.known_since, crontabs.last_execution
from {old}.known_crontabs as crontabs
on conflict (identifier) do nothing;
