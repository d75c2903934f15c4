-- Count the jobs that are due, by task.
-- returns  task, jobs, due_for (the oldest)
select
    tasks.identifier as task,
    count(*)::int as jobs,
    now() - min(jobs.run_at) as due_for
from {schema}._private_jobs as jobs
join {schema}._private_tasks as tasks on tasks.id = jobs.task_id
where jobs.is_available and jobs.run_at <= now()
group by tasks.identifier
order by jobs desc, task
