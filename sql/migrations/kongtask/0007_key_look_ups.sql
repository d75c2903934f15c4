-- Own step 7: adding looks up the keys it was given, and walks over no others.
-- While somebody holds a transaction open, what stood in the index of keys stays there: two entries
-- of every job that was done meanwhile, of those without a key as well. Graphile Worker's `add_jobs`
-- joins its specs with the job table, to find the keys of jobs that run. Where few rows are alive,
-- PostgreSQL does that by walking over the whole index: after 300 000 jobs in 0.1 s a call, for a
-- hundred keys as for one or none, and `add_job` goes through it. Here each key is a look-up, and
-- without keys there is none: 0.3 ms for one job, 3 ms for a hundred.
-- Graphile Worker's own functions stay as they are: what we add is additive, and a later version of
-- it, which may be there already, may have others. This package calls these in their place.

-- Jobs that run, or are used up, keep what they knew and hand their keys to new ones. With these
-- settings, and without a join, look-ups in the index of keys are the only plan there is, however
-- small the table was when the plan was made.
create function {schema}._kongtask_free_keys(job_keys text[])
returns void
language plpgsql
set enable_seqscan = off
set enable_bitmapscan = off
as $kongtask$
begin
    update {schema}._private_jobs as jobs
    set key = null, attempts = jobs.max_attempts, updated_at = now()
    where jobs.key = any (job_keys) and not jobs.is_available;
end;
$kongtask$;

-- What `add_jobs` of level 20 does, with ids in the order given: jobs of one named queue that are due
-- at the same moment run in the order of their ids.
create function {schema}._kongtask_add_specs(
    specs {schema}.job_spec[],
    job_key_preserve_run_at boolean default false
)
returns setof {schema}._private_jobs
language plpgsql
as $kongtask$
declare
    job_keys text[] := array(
        select spec.job_key from unnest(specs) as spec where spec.job_key is not null
    );
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

    if cardinality(job_keys) > 0 then
        perform {schema}._kongtask_free_keys(job_keys);
    end if;

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
    from unnest(specs) with ordinality as spec
        (identifier, payload, queue_name, run_at, max_attempts, job_key, priority, flags, place)
    join {schema}._private_tasks as tasks on tasks.identifier = spec.identifier
    left join {schema}._private_job_queues as queues on queues.queue_name = spec.queue_name
    order by spec.place
    on conflict (key) do update
    set task_id = excluded.task_id,
        job_queue_id = excluded.job_queue_id,
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

-- One job, as `add_job` adds it: by a plain insert where its task and its queue are known and it has
-- no key. `unsafe_dedupe` looks its one key up in Graphile Worker's function as well, which also
-- knows how to refuse a mode. A null id tells that a race lost the job.
create function {schema}._kongtask_add_single(
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
    if job_key is null then
        added := {schema}._kongtask_add_one(
            identifier, payload, queue_name, run_at, max_attempts, priority, flags
        );
        if added.id is not null then
            return added;
        end if;
    end if;
    if job_key is null or coalesce(job_key_mode, 'replace') in ('replace', 'preserve_run_at') then
        select jobs.* into added
        from {schema}._kongtask_add_specs(
            array[
                row(
                    identifier, payload, queue_name, run_at, max_attempts::smallint, job_key,
                    priority::smallint, flags
                )::{schema}.job_spec
            ],
            job_key_mode = 'preserve_run_at'
        ) as jobs;
        return added;
    end if;
    return {schema}.add_job(
        identifier, payload, queue_name, run_at, max_attempts, job_key, priority, flags,
        job_key_mode
    );
end;
$kongtask$;

create or replace function {schema}._kongtask_add_any(
    specs {schema}.job_spec[],
    job_key_preserve_run_at boolean
)
returns {schema}._private_jobs[]
language plpgsql
as $kongtask$
begin
    return array(
        select jobs from {schema}._kongtask_add_specs(specs, job_key_preserve_run_at) as jobs
    );
end;
$kongtask$;

create or replace function {schema}._kongtask_add_job(
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
returns {schema}._kongtask_added
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $kongtask$
declare
    added {schema}._private_jobs;
begin
    added := {schema}._kongtask_add_single(
        identifier, payload, queue_name, run_at, max_attempts, job_key, priority, flags,
        job_key_mode
    );
    return (
        added.id, identifier, queue_name, coalesce(payload, '{}'::json), added.priority,
        added.run_at, added.attempts, added.max_attempts, null, added.created_at,
        added.updated_at, added.key, added.revision, null, null,
        (select jsonb_object_agg(flag, true) from unnest(flags) as flag),
        nullif(current_setting('kongtask.traceparent', true), ''),
        nullif(current_setting('kongtask.tracestate', true), '')
    )::{schema}._kongtask_added;
exception
    when data_exception then
        raise exception using errcode = sqlstate, message = sqlerrm;
end;
$kongtask$;

create or replace function {schema}._kongtask_route_job(
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
returns {schema}._kongtask_added
language plpgsql
as $kongtask$
declare
    added {schema}._private_jobs;
begin
    if not {schema}._kongtask_may_insert() then
        return {schema}._kongtask_add_job(
            identifier, payload, queue_name, run_at, max_attempts, job_key, priority, flags,
            job_key_mode
        );
    end if;
    added := {schema}._kongtask_add_single(
        identifier, payload, queue_name, run_at, max_attempts, job_key, priority, flags,
        job_key_mode
    );
    return (
        added.id, identifier, queue_name, added.payload, added.priority, added.run_at,
        added.attempts, added.max_attempts, added.last_error, added.created_at, added.updated_at,
        added.key, added.revision, added.locked_at, added.locked_by, added.flags,
        added.traceparent, added.tracestate
    )::{schema}._kongtask_added;
end;
$kongtask$;
