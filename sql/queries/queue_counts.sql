-- Count the jobs that could run now, no further than needed, and find the next one to become due.
-- The distinct priorities are walked one by one, so that jobs of the future are never scanned.
-- Jobs of one named queue run one after the other: they count as one, or none while one runs.
-- $1 int     where to stop counting
-- $2 text[]  tasks that the workers know: only their jobs count; null counts all
-- returns    one row: unqueued, queues, sampled (jobs looked at to find the queues), next_run_at,
--            unknown_tasks (of jobs looked at that no worker knows), now, read_only
with recursive known as (
    select array_agg(tasks.id) as ids
    from {schema}._private_tasks as tasks
    where tasks.identifier = any ($2::text[])
),
priorities (priority) as (
    (
        select jobs.priority
        from {schema}._private_jobs as jobs
        where jobs.is_available
        order by jobs.priority
        limit 1
    )
    union all
    select (
        select jobs.priority
        from {schema}._private_jobs as jobs
        where jobs.is_available and jobs.priority > priorities.priority
        order by jobs.priority
        limit 1
    )
    from priorities
    where priorities.priority is not null
),
unqueued as (
    select 1
    from priorities
    cross join lateral (
        select 1
        from {schema}._private_jobs as jobs
        where jobs.is_available
          and jobs.job_queue_id is null
          and jobs.priority = priorities.priority
          and jobs.run_at <= now()
          and ($2::text[] is null or jobs.task_id = any ((select ids from known)::int[]))
        order by jobs.run_at
        limit $1::int
    ) as due
    limit $1::int
),
sampled as (
    select due.job_queue_id, due.task_id
    from priorities
    cross join lateral (
        select jobs.job_queue_id, jobs.task_id
        from {schema}._private_jobs as jobs
        where jobs.is_available
          and jobs.priority = priorities.priority
          and jobs.run_at <= now()
        order by jobs.run_at
        limit $1::int
    ) as due
    limit $1::int
)
select
    (select count(*) from unqueued)::int as unqueued,
    (
        select count(*)
        from {schema}._private_job_queues as queues
        where queues.is_available
          and queues.id in (
              select job_queue_id
              from sampled
              where $2::text[] is null or task_id = any ((select ids from known)::int[])
          )
    )::int as queues,
    (select count(*) from sampled)::int as sampled,
    (
        select min(following.run_at)
        from priorities
        cross join lateral (
            select jobs.run_at
            from {schema}._private_jobs as jobs
            where jobs.is_available
              and jobs.priority = priorities.priority
              and jobs.run_at > now()
              and ($2::text[] is null or jobs.task_id = any ((select ids from known)::int[]))
            order by jobs.run_at
            limit 1
        ) as following
    ) as next_run_at,
    array(
        select tasks.identifier
        from {schema}._private_tasks as tasks
        where $2::text[] is not null
          and tasks.identifier <> all ($2::text[])
          and tasks.id in (select task_id from sampled)
        order by tasks.identifier
    ) as unknown_tasks,
    now() as now,
    pg_is_in_recovery() or current_setting('transaction_read_only')::bool as read_only
