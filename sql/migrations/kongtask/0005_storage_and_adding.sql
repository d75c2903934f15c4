-- Own step 5: how the tables that every job touches are stored, and how a role that may do nothing
-- else adds jobs.
-- Storage. Every job leaves two dead rows in its table, one of fetching and one of completing, and
-- two in the table of queues. A fetch walks over those that stand before the first living one. Measured on PostgreSQL 18, ten
-- jobs a fetch: 0.4 ms on a fresh table, 1.6 ms after 60 000 jobs without vacuum, 5 ms when an old
-- transaction keeps them from being skipped; the vacuum itself took 50 ms. The server's default
-- waits until a fifth of the table is dead, which a backlog of a million jobs puts off to 200 000.
-- Here a hundredth and 1000 rows are enough, and the vacuum does not pause: it is short because it
-- is often. The values hold for the payloads beside the table as well.
-- The job table stays full: locking changes columns that its indexes are partial by, so not one of
-- 40 000 updates could be made in place ("hot"), at a fillfactor of 100, 90, 70 or 50.
-- The queue table keeps a tenth free: locks are in none of its indexes, so they are written in
-- place where there is room. Of 10 000 updates of 1000 new queues, 868 are not, against 1741 with
-- full pages. At 70 it would be 123; but room tells the planner that the table is small while nobody
-- has analyzed it, and below 80 it joins so that Graphile Worker's add_jobs gives ids in another
-- order.
-- Setting these waits for nobody who reads or writes.
-- Adding. A role that is given `_kongtask_add_job` and `_kongtask_add_jobs` adds jobs with the
-- rights of the tables' owner, and reads nothing: what comes back about a job is what the caller
-- gave, even when the key led to a job of others, and errors about values lose the part that could
-- quote another's payload. They are made here and not when the role is, so that they belong to the
-- owner of the tables, whoever makes the role, and go with later versions. Nobody may run them
-- until `kongtask roles` says who. The two that route choose between them and Graphile Worker's
-- functions by what the caller may do: the rights of a function are checked when it is called, and
-- so one statement serves every role.

alter table {schema}._private_jobs set (
    autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.02,
    autovacuum_analyze_threshold = 1000
);

alter table {schema}._private_job_queues set (
    fillfactor = 90,
    autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0
);

create type {schema}._kongtask_added as (
    id bigint,
    task_identifier text,
    queue_name text,
    payload json,
    priority smallint,
    run_at timestamptz,
    attempts smallint,
    max_attempts smallint,
    last_error text,
    created_at timestamptz,
    updated_at timestamptz,
    key text,
    revision int,
    locked_at timestamptz,
    locked_by text,
    flags jsonb,
    traceparent text,
    tracestate text
);

create function {schema}._kongtask_add_job(
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
    added := {schema}.add_job(
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

-- Jobs without keys, added in the order given: ids order the jobs of one named queue that are due
-- at the same moment, and Graphile Worker's function gives them in no particular order.
create function {schema}._kongtask_add_plain(specs {schema}.job_spec[])
returns setof bigint
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

    perform pg_notify(
        'jobs:insert',
        '{"r":' || random()::text || ',"count":' || cardinality(specs)::text || '}'
    );

    return query
    insert into {schema}._private_jobs as jobs
        (task_id, job_queue_id, payload, run_at, max_attempts, priority, flags)
    select
        tasks.id,
        queues.id,
        coalesce(spec.payload, '{}'::json),
        coalesce(spec.run_at, now()),
        coalesce(spec.max_attempts, 25::smallint),
        coalesce(spec.priority, 0::smallint),
        case when spec.flags is not null then
            (select jsonb_object_agg(flag, true) from unnest(spec.flags) as flag)
        end
    from unnest(specs) with ordinality as spec
        (identifier, payload, queue_name, run_at, max_attempts, job_key, priority, flags, place)
    join {schema}._private_tasks as tasks on tasks.identifier = spec.identifier
    left join {schema}._private_job_queues as queues on queues.queue_name = spec.queue_name
    order by spec.place
    returning jobs.id;
end;
$kongtask$;

-- Graphile Worker's function where there are keys, which it knows how to treat.
create function {schema}._kongtask_add_any(
    specs {schema}.job_spec[],
    job_key_preserve_run_at boolean
)
returns {schema}._private_jobs[]
language plpgsql
as $kongtask$
declare
    ids bigint[];
begin
    if exists (select 1 from unnest(specs) as spec where spec.job_key is not null) then
        return array(select jobs from {schema}.add_jobs(specs, job_key_preserve_run_at) as jobs);
    end if;
    -- Two statements: the second sees what the first one made.
    ids := array(select added from {schema}._kongtask_add_plain(specs) as added);
    return array(
        select jobs from {schema}._private_jobs as jobs where jobs.id = any (ids) order by jobs.id
    );
end;
$kongtask$;

create function {schema}._kongtask_add_jobs(
    specs {schema}.job_spec[],
    job_key_preserve_run_at boolean default false
)
returns setof {schema}._kongtask_added
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $kongtask$
declare
    added {schema}._private_jobs[];
begin
    -- Two statements: the second sees the tasks and queues that the first one made.
    added := {schema}._kongtask_add_any(specs, job_key_preserve_run_at);
    return query
    select
        jobs.id, tasks.identifier, queues.queue_name,
        case when jobs.key is null then jobs.payload else coalesce(keyed.payload, '{}'::json) end,
        jobs.priority, jobs.run_at, jobs.attempts, jobs.max_attempts, null::text, jobs.created_at,
        jobs.updated_at, jobs.key, jobs.revision, null::timestamptz, null::text, jobs.flags,
        jobs.traceparent, jobs.tracestate
    from unnest(added) as jobs
    join {schema}._private_tasks as tasks on tasks.id = jobs.task_id
    left join {schema}._private_job_queues as queues on queues.id = jobs.job_queue_id
    left join unnest(specs) as keyed on keyed.job_key = jobs.key;
exception
    when data_exception then
        raise exception using errcode = sqlstate, message = sqlerrm;
end;
$kongtask$;

revoke all on function
    {schema}._kongtask_add_job(text, json, text, timestamptz, int, text, int, text[], text),
    {schema}._kongtask_add_jobs({schema}.job_spec[], boolean)
from public;

create function {schema}._kongtask_route_job(
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
    added := {schema}.add_job(
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

create function {schema}._kongtask_route_jobs(
    specs {schema}.job_spec[],
    job_key_preserve_run_at boolean default false
)
returns setof {schema}._kongtask_added
language plpgsql
as $kongtask$
declare
    added {schema}._private_jobs[];
begin
    if not {schema}._kongtask_may_insert() then
        return query
        select jobs.* from {schema}._kongtask_add_jobs(specs, job_key_preserve_run_at) as jobs;
        return;
    end if;
    added := {schema}._kongtask_add_any(specs, job_key_preserve_run_at);
    return query
    select
        jobs.id, tasks.identifier, queues.queue_name, jobs.payload, jobs.priority, jobs.run_at,
        jobs.attempts, jobs.max_attempts, jobs.last_error, jobs.created_at, jobs.updated_at,
        jobs.key, jobs.revision, jobs.locked_at, jobs.locked_by, jobs.flags, jobs.traceparent,
        jobs.tracestate
    from unnest(added) as jobs
    join {schema}._private_tasks as tasks on tasks.id = jobs.task_id
    left join {schema}._private_job_queues as queues on queues.id = jobs.job_queue_id;
end;
$kongtask$;

create function {schema}._kongtask_route_plain(specs {schema}.job_spec[])
returns setof bigint
language plpgsql
as $kongtask$
begin
    if not {schema}._kongtask_may_insert() then
        return query select jobs.id from {schema}._kongtask_add_jobs(specs) as jobs;
        return;
    end if;
    return query select added from {schema}._kongtask_add_plain(specs) as added;
end;
$kongtask$;

create function {schema}._kongtask_may_insert()
returns boolean
language sql
stable
as $kongtask$
    select has_table_privilege(types.typrelid, 'insert')
    from pg_catalog.pg_type as types
    where types.oid = pg_typeof(null::{schema}._private_jobs)::oid
$kongtask$;
