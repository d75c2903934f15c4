-- Read which tasks have due jobs that this pool does not run, among the next thousand.
-- $1 int[]  ids of the tasks this pool can run
-- returns   identifier, in alphabetical order
select tasks.identifier
from {schema}._private_tasks as tasks
where tasks.id in (
    select next.task_id
    from (
        select jobs.task_id
        from {schema}._private_jobs as jobs
        where jobs.is_available and jobs.run_at <= now()
        order by jobs.priority, jobs.run_at
        limit 1000
    ) as next
    where next.task_id <> all ($1::int[])
)
order by tasks.identifier
