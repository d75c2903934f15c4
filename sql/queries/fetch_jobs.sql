-- Lock the next due jobs for one pool of workers, and the named queues they belong to.
-- Only the queues of jobs that may be taken are locked, after the jobs, and everything that others
-- hold is skipped: nobody waits, so nobody waits in a circle.
-- $1 text         pool id, written to locked_by
-- $2 int[]        ids of the tasks this pool can run
-- $3 int          how many jobs at most
-- $4 text[]       flags that this pool refuses, or null
-- $5 int          how many jobs at most of one named queue
-- $6 int[]        ranges of priorities, in order and apart: the first of each; null for one of all
-- $7 timestamptz[]  the run_at to begin at within the first priority, or null for the earliest
-- $8 int[]        the last priority of each
-- $9 boolean      whether to tell if there are named queues: dead rows of queues may make it slow
-- returns         one row a job, locked, its attempt already counted; moments in seconds since 1970,
--                 which cost the client a tenth of what timestamps do; and whether the schema has
--                 any named queue, or null: without, fetch_unqueued_jobs.sql may be next
with due as (
    select found.id, found.job_queue_id, found.priority, found.run_at
    from unnest(
        coalesce($6::int[], array[-32768]), $7::timestamptz[], coalesce($8::int[], array[32767])
    ) as ranges (first, since, last)
    cross join lateral (
        select jobs.id, jobs.job_queue_id, jobs.priority, jobs.run_at
        from {schema}._private_jobs as jobs
        where jobs.is_available
          and jobs.run_at <= now()
          and (jobs.priority, jobs.run_at)
              >= (ranges.first::smallint, coalesce(ranges.since, '-infinity'::timestamptz))
          and jobs.priority <= ranges.last::smallint
          and jobs.task_id = any ($2::int[])
          and (
              jobs.job_queue_id is null
              or jobs.job_queue_id in (
                  select queues.id
                  from {schema}._private_job_queues as queues
                  where queues.is_available
              )
          )
          and ($4::text[] is null or jobs.flags is null or not jobs.flags ?| $4::text[])
        order by jobs.priority, jobs.run_at
        limit $3::int
        for update of jobs skip locked
    ) as found
    limit $3::int
),
free_queues as (
    select queues.id
    from {schema}._private_job_queues as queues
    where queues.id = any (array(select distinct job_queue_id from due)) and queues.is_available
    for update skip locked
),
chosen as (
    select id, job_queue_id from due where job_queue_id is null
    union all
    select ranked.id, ranked.job_queue_id
    from (
        select
            due.id,
            due.job_queue_id,
            row_number() over (
                partition by due.job_queue_id order by due.priority, due.run_at, due.id
            ) as place
        from due
        where due.job_queue_id in (select id from free_queues)
    ) as ranked
    where ranked.place <= $5::int
),
taken_queues as (
    update {schema}._private_job_queues as queues
    set locked_by = $1::text, locked_at = now()
    where queues.id = any (array(select distinct job_queue_id from chosen))
)
update {schema}._private_jobs as jobs
set attempts = jobs.attempts + 1, locked_by = $1::text, locked_at = now()
where jobs.id = any (array(select id from chosen))
returning
    jobs.id,
    jobs.payload::text as payload_json,
    case when jobs.job_queue_id is not null then (
        select queues.queue_name
        from {schema}._private_job_queues as queues
        where queues.id = jobs.job_queue_id
    ) end as queue_name,
    jobs.priority, date_part('epoch', jobs.run_at) as run_at, jobs.attempts, jobs.max_attempts,
    jobs.last_error, date_part('epoch', jobs.created_at) as created_at,
    date_part('epoch', jobs.updated_at) as updated_at, jobs.key, jobs.revision,
    (select date_part('epoch', now())) as locked_at, jobs.traceparent, jobs.tracestate,
    jobs.task_id, jobs.flags::text as flags_json,
    case when $9::boolean then (
        select exists (select from {schema}._private_job_queues)
    ) end as has_queues
