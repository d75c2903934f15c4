-- Lock the next due jobs for one pool of workers, in a schema that has no named queues just now.
-- Where there is one, it finds nothing. It takes half as long to begin as fetch_jobs.sql, which is
-- most of what a fetch of a few jobs takes.
-- $1 text    pool id, written to locked_by
-- $2 int[]   ids of the tasks this pool can run
-- $3 int     how many jobs at most
-- $4 text[]  flags that this pool refuses, or null
-- returns    one row a job, as fetch_jobs.sql does
update {schema}._private_jobs as jobs
set attempts = jobs.attempts + 1, locked_by = $1::text, locked_at = now()
where jobs.id = any (array(
    select due.id
    from {schema}._private_jobs as due
    where due.is_available
      and due.run_at <= now()
      and due.task_id = any ($2::int[])
      and due.job_queue_id is null
      and ($4::text[] is null or due.flags is null or not due.flags ?| $4::text[])
      and not exists (select from {schema}._private_job_queues)
    order by due.priority, due.run_at
    limit $3::int
    for update skip locked
))
returning
    jobs.id, jobs.payload::text as payload_json, null::text as queue_name,
    jobs.priority, date_part('epoch', jobs.run_at) as run_at, jobs.attempts, jobs.max_attempts,
    jobs.last_error, date_part('epoch', jobs.created_at) as created_at,
    date_part('epoch', jobs.updated_at) as updated_at, jobs.key, jobs.revision,
    date_part('epoch', jobs.locked_at) as locked_at, jobs.traceparent, jobs.tracestate,
    jobs.task_id, jobs.flags::text as flags_json
