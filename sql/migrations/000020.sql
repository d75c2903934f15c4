-- Level 20: adding jobs uses up no identities of tasks and queues that exist.
-- An insert that does nothing still takes a number of the sequence, and those of tasks and queues
-- end at two thousand million.

create or replace function {schema}.add_jobs(
    specs {schema}.job_spec[],
    job_key_preserve_run_at boolean default false
)
returns setof {schema}._private_jobs
language plpgsql
as $kongtask$
begin
    insert into {schema}._private_tasks as tasks (identifier)
    select distinct spec.identifier
    from unnest(specs) as spec
    where not exists (
        select 1 from {schema}._private_tasks as known where known.identifier = spec.identifier
    )
    on conflict do nothing;

    insert into {schema}._private_job_queues as queues (queue_name)
    select distinct spec.queue_name
    from unnest(specs) as spec
    where spec.queue_name is not null
      and not exists (
          select 1 from {schema}._private_job_queues as known where known.queue_name = spec.queue_name
      )
    on conflict do nothing;

    -- A job that runs, or is used up, keeps what it knew: it hands its key to a new job.
    update {schema}._private_jobs as jobs
    set key = null, attempts = jobs.max_attempts, updated_at = now()
    from unnest(specs) as spec
    where jobs.key = spec.job_key and not jobs.is_available;

    -- Of no specs at all the count is null, and so is the text: that too is sent, as an empty one.
    perform pg_notify(
        'jobs:insert',
        '{"r":' || random()::text || ',"count":' || array_length(specs, 1)::text || '}'
    );

    return query
    insert into {schema}._private_jobs as jobs
        (task_id, job_queue_id, payload, run_at, max_attempts, key, priority, flags)
    select
        tasks.id,
        queues.id,
        coalesce(spec.payload, '{}'::json),
        coalesce(spec.run_at, now()),
        coalesce(spec.max_attempts, 25::smallint),
        spec.job_key,
        coalesce(spec.priority, 0::smallint),
        (select jsonb_object_agg(flag, true) from unnest(spec.flags) as flag)
    from unnest(specs) as spec
    join {schema}._private_tasks as tasks on tasks.identifier = spec.identifier
    left join {schema}._private_job_queues as queues on queues.queue_name = spec.queue_name
    on conflict (key) do update
    set task_id = excluded.task_id,
        job_queue_id = excluded.job_queue_id,
        -- Lists are collected, so that a job that waits can gather what many callers add.
        payload = case
            when json_typeof(jobs.payload) = 'array' and json_typeof(excluded.payload) = 'array'
            then (jobs.payload::jsonb || excluded.payload::jsonb)::json
            else excluded.payload
        end,
        run_at = case
            when job_key_preserve_run_at and jobs.attempts = 0 then jobs.run_at
            else excluded.run_at
        end,
        max_attempts = excluded.max_attempts,
        priority = excluded.priority,
        flags = excluded.flags,
        attempts = 0,
        last_error = null,
        revision = jobs.revision + 1,
        updated_at = now()
    where jobs.locked_at is null
    returning jobs.*;
end;
$kongtask$;

create or replace function {schema}.add_job(
    identifier text,
    payload json default null,
    queue_name text default null,
    run_at timestamptz default null,
    max_attempts int default null,
    job_key text default null,
    priority int default null,
    flags text[] default null,
    job_key_mode text default 'replace'
)
returns {schema}._private_jobs
language plpgsql
as $kongtask$
declare
    added {schema}._private_jobs;
begin
    if job_key is null or coalesce(job_key_mode, 'replace') in ('replace', 'preserve_run_at') then
        select jobs.* into added
        from {schema}.add_jobs(
            array[
                row(
                    identifier, payload, queue_name, run_at, max_attempts::smallint, job_key,
                    priority::smallint, flags
                )::{schema}.job_spec
            ],
            job_key_mode = 'preserve_run_at'
        ) as jobs
        limit 1;
        return added;
    end if;

    if job_key_mode <> 'unsafe_dedupe' then
        raise exception
            'job_key_mode must be replace, preserve_run_at or unsafe_dedupe, got %', job_key_mode
            using errcode = 'GWBKM';
    end if;

    insert into {schema}._private_tasks as tasks (identifier)
    select add_job.identifier
    where not exists (
        select 1 from {schema}._private_tasks as known where known.identifier = add_job.identifier
    )
    on conflict do nothing;

    insert into {schema}._private_job_queues as queues (queue_name)
    select add_job.queue_name
    where add_job.queue_name is not null
      and not exists (
          select 1
          from {schema}._private_job_queues as known
          where known.queue_name = add_job.queue_name
      )
    on conflict do nothing;

    insert into {schema}._private_jobs as jobs
        (task_id, job_queue_id, payload, run_at, max_attempts, key, priority, flags)
    select
        tasks.id,
        queues.id,
        coalesce(add_job.payload, '{}'::json),
        coalesce(add_job.run_at, now()),
        coalesce(add_job.max_attempts, 25)::smallint,
        add_job.job_key,
        coalesce(add_job.priority, 0)::smallint,
        (select jsonb_object_agg(flag, true) from unnest(add_job.flags) as flag)
    from {schema}._private_tasks as tasks
    left join {schema}._private_job_queues as queues on queues.queue_name = add_job.queue_name
    where tasks.identifier = add_job.identifier
    -- The job that has the key stays as it is, even while it runs; it is touched to be returned.
    on conflict (key) do update
    set revision = jobs.revision + 1, updated_at = now()
    returning jobs.* into added;
    if added.revision = 0 then
        perform pg_notify('jobs:insert', format('{"r":%s,"count":1}', random()));
    end if;
    return added;
end;
$kongtask$;
