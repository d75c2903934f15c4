-- Count the jobs that failed for good, by task.
-- returns  task, jobs, ago (since the last change of one)
select
    tasks.identifier as task,
    count(*)::int as jobs,
    now() - max(jobs.updated_at) as ago
from {schema}._private_jobs as jobs
join {schema}._private_tasks as tasks on tasks.id = jobs.task_id
where jobs.locked_at is null and jobs.attempts >= jobs.max_attempts
group by tasks.identifier
order by jobs desc, task
