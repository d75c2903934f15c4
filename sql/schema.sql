-- The schema as the migrations leave it, written by `python tests/schema_catalog.py`.
-- To be read, not to be run: a test compares it with what PostgreSQL says.

create type graphile_worker._kongtask_added as (
    id bigint,
    task_identifier text,
    queue_name text,
    payload json,
    priority smallint,
    run_at timestamp with time zone,
    attempts smallint,
    max_attempts smallint,
    last_error text,
    created_at timestamp with time zone,
    updated_at timestamp with time zone,
    key text,
    revision integer,
    locked_at timestamp with time zone,
    locked_by text,
    flags jsonb,
    traceparent text,
    tracestate text
);

create table graphile_worker._kongtask_migrations (
    id integer not null,
    ts timestamp with time zone not null default now(),
    constraint _kongtask_migrations_pkey PRIMARY KEY (id)
);

create table graphile_worker._kongtask_pools (
    pool_id text not null,
    host text,
    concurrency integer,
    tasks text[],
    started_at timestamp with time zone not null default now(),
    heartbeat_at timestamp with time zone not null default now(),
    recovery_timeout interval not null default '00:00:10'::interval,
    attempts_count boolean not null default true,
    constraint _kongtask_pools_pkey PRIMARY KEY (pool_id)
);
alter table graphile_worker._kongtask_pools enable row level security;

create table graphile_worker._private_job_queues (
    id integer not null generated always as identity from graphile_worker.job_queues_id_seq,
    queue_name text not null,
    locked_at timestamp with time zone,
    locked_by text,
    is_available boolean not null generated always as ((locked_at IS NULL)) stored,
    constraint job_queues_pkey1 PRIMARY KEY (id),
    constraint job_queues_queue_name_check CHECK ((length(queue_name) <= 128)),
    constraint job_queues_queue_name_key UNIQUE (queue_name)
);
alter table graphile_worker._private_job_queues set (fillfactor=90, autovacuum_vacuum_scale_factor=0.01, autovacuum_vacuum_threshold=1000, autovacuum_vacuum_cost_delay=0);
alter table graphile_worker._private_job_queues enable row level security;

create table graphile_worker._private_jobs (
    id bigint not null generated always as identity from graphile_worker.jobs_id_seq1,
    job_queue_id integer,
    task_id integer not null,
    payload json not null default '{}'::json,
    priority smallint not null default 0,
    run_at timestamp with time zone not null default now(),
    attempts smallint not null default 0,
    max_attempts smallint not null default 25,
    last_error text,
    created_at timestamp with time zone not null default now(),
    updated_at timestamp with time zone not null default now(),
    key text,
    locked_at timestamp with time zone,
    locked_by text,
    revision integer not null default 0,
    flags jsonb,
    is_available boolean not null generated always as (((locked_at IS NULL) AND (attempts < max_attempts))) stored,
    traceparent text default NULLIF(current_setting('kongtask.traceparent'::text, true), ''::text),
    tracestate text default NULLIF(current_setting('kongtask.tracestate'::text, true), ''::text),
    constraint jobs_key_check CHECK (((length(key) > 0) AND (length(key) <= 512))),
    constraint jobs_key_key1 UNIQUE (key),
    constraint jobs_max_attempts_check CHECK ((max_attempts >= 1)),
    constraint jobs_pkey1 PRIMARY KEY (id)
);
alter table graphile_worker._private_jobs set (autovacuum_vacuum_scale_factor=0.01, autovacuum_vacuum_threshold=1000, autovacuum_vacuum_cost_delay=0, autovacuum_analyze_scale_factor=0.02, autovacuum_analyze_threshold=1000, fillfactor=43);
alter table graphile_worker._private_jobs enable row level security;
CREATE INDEX _kongtask_jobs_locked_index ON graphile_worker._private_jobs USING btree (hashtext(locked_by)) WHERE (locked_at IS NOT NULL);
CREATE INDEX jobs_main_index ON graphile_worker._private_jobs USING btree (priority, run_at) INCLUDE (id, task_id, job_queue_id) WHERE (is_available = true);
CREATE INDEX jobs_no_queue_index ON graphile_worker._private_jobs USING btree (priority, run_at) INCLUDE (id, task_id) WHERE ((is_available = true) AND (job_queue_id IS NULL));

create table graphile_worker._private_known_crontabs (
    identifier text not null,
    known_since timestamp with time zone not null,
    last_execution timestamp with time zone,
    constraint known_crontabs_pkey PRIMARY KEY (identifier)
);
alter table graphile_worker._private_known_crontabs enable row level security;

create table graphile_worker._private_tasks (
    id integer not null generated always as identity from graphile_worker.tasks_id_seq,
    identifier text not null,
    constraint tasks_identifier_check CHECK ((length(identifier) <= 128)),
    constraint tasks_identifier_key UNIQUE (identifier),
    constraint tasks_pkey PRIMARY KEY (id)
);
alter table graphile_worker._private_tasks enable row level security;

create type graphile_worker.job_spec as (
    identifier text,
    payload json,
    queue_name text,
    run_at timestamp with time zone,
    max_attempts smallint,
    job_key text,
    priority smallint,
    flags text[]
);

create view graphile_worker.jobs as
SELECT jobs.id,
    queues.queue_name,
    tasks.identifier AS task_identifier,
    jobs.priority,
    jobs.run_at,
    jobs.attempts,
    jobs.max_attempts,
    jobs.last_error,
    jobs.created_at,
    jobs.updated_at,
    jobs.key,
    jobs.locked_at,
    jobs.locked_by,
    jobs.revision,
    jobs.flags
   FROM graphile_worker._private_jobs jobs
     JOIN graphile_worker._private_tasks tasks ON tasks.id = jobs.task_id
     LEFT JOIN graphile_worker._private_job_queues queues ON queues.id = jobs.job_queue_id;

create table graphile_worker.migrations (
    id integer not null,
    ts timestamp with time zone not null default now(),
    breaking boolean not null default false,
    constraint migrations_pkey PRIMARY KEY (id)
);

CREATE TRIGGER _kongtask_take_context BEFORE UPDATE OF task_id ON graphile_worker._private_jobs FOR EACH ROW EXECUTE FUNCTION graphile_worker._kongtask_take_context();

CREATE OR REPLACE FUNCTION graphile_worker._kongtask_add_any(specs graphile_worker.job_spec[], job_key_preserve_run_at boolean)
 RETURNS graphile_worker._private_jobs[]
 LANGUAGE plpgsql
AS $function$
begin
    return array(
        select jobs from "graphile_worker"._kongtask_add_specs(specs, job_key_preserve_run_at) as jobs
    );
end;
$function$;

CREATE OR REPLACE FUNCTION graphile_worker._kongtask_add_job(identifier text, payload json DEFAULT NULL::json, queue_name text DEFAULT NULL::text, run_at timestamp with time zone DEFAULT NULL::timestamp with time zone, max_attempts integer DEFAULT NULL::integer, job_key text DEFAULT NULL::text, priority integer DEFAULT NULL::integer, flags text[] DEFAULT NULL::text[], job_key_mode text DEFAULT 'replace'::text)
 RETURNS graphile_worker._kongtask_added
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    added "graphile_worker"._private_jobs;
begin
    added := "graphile_worker"._kongtask_add_single(
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
    )::"graphile_worker"._kongtask_added;
exception
    when data_exception then
        raise exception using errcode = sqlstate, message = sqlerrm;
end;
$function$;

CREATE OR REPLACE FUNCTION graphile_worker._kongtask_add_jobs(specs graphile_worker.job_spec[], job_key_preserve_run_at boolean DEFAULT false)
 RETURNS SETOF graphile_worker._kongtask_added
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
    added "graphile_worker"._private_jobs[];
begin
    -- Two statements: the second sees the tasks and queues that the first one made.
    added := "graphile_worker"._kongtask_add_any(specs, job_key_preserve_run_at);
    return query
    select
        jobs.id, tasks.identifier, queues.queue_name,
        case when jobs.key is null then jobs.payload else coalesce(keyed.payload, '{}'::json) end,
        jobs.priority, jobs.run_at, jobs.attempts, jobs.max_attempts, null::text, jobs.created_at,
        jobs.updated_at, jobs.key, jobs.revision, null::timestamptz, null::text, jobs.flags,
        jobs.traceparent, jobs.tracestate
    from unnest(added) as jobs
    join "graphile_worker"._private_tasks as tasks on tasks.id = jobs.task_id
    left join "graphile_worker"._private_job_queues as queues on queues.id = jobs.job_queue_id
    left join unnest(specs) as keyed on keyed.job_key = jobs.key;
exception
    when data_exception then
        raise exception using errcode = sqlstate, message = sqlerrm;
end;
$function$;

CREATE OR REPLACE FUNCTION graphile_worker._kongtask_add_one(identifier text, payload json, queue_name text, run_at timestamp with time zone, max_attempts integer, priority integer, flags text[])
 RETURNS graphile_worker._private_jobs
 LANGUAGE plpgsql
AS $function$
declare
    task int := (
        select tasks.id from "graphile_worker"._private_tasks as tasks
        where tasks.identifier = _kongtask_add_one.identifier
    );
    queue int;
    added "graphile_worker"._private_jobs;
begin
    if queue_name is not null then
        queue := (
            select queues.id from "graphile_worker"._private_job_queues as queues
            where queues.queue_name = _kongtask_add_one.queue_name
        );
    end if;
    if task is null or (queue is null and queue_name is not null) then
        return null;
    end if;
    insert into "graphile_worker"._private_jobs as jobs
        (task_id, job_queue_id, payload, run_at, max_attempts, priority, flags)
    values (
        task,
        queue,
        coalesce(_kongtask_add_one.payload, '{}'::json),
        coalesce(_kongtask_add_one.run_at, now()),
        coalesce(_kongtask_add_one.max_attempts, 25)::smallint,
        coalesce(_kongtask_add_one.priority, 0)::smallint,
        case when _kongtask_add_one.flags is not null then (
            select jsonb_object_agg(flag, true) from unnest(_kongtask_add_one.flags) as flag
        ) end
    )
    returning jobs.* into added;
    perform pg_notify('jobs:insert', format('{"r":%s,"count":1}', random()));
    return added;
end;
$function$;

CREATE OR REPLACE FUNCTION graphile_worker._kongtask_add_plain(specs graphile_worker.job_spec[])
 RETURNS SETOF bigint
 LANGUAGE plpgsql
AS $function$
begin
    insert into "graphile_worker"._private_tasks as tasks (identifier)
    select distinct spec.identifier
    from unnest(specs) as spec
    where not exists (
        select 1 from "graphile_worker"._private_tasks as known where known.identifier = spec.identifier
    )
    on conflict do nothing;

    insert into "graphile_worker"._private_job_queues as queues (queue_name)
    select distinct spec.queue_name
    from unnest(specs) as spec
    where spec.queue_name is not null
      and not exists (
          select 1 from "graphile_worker"._private_job_queues as known where known.queue_name = spec.queue_name
      )
    on conflict do nothing;

    perform pg_notify(
        'jobs:insert',
        '{"r":' || random()::text || ',"count":' || cardinality(specs)::text || '}'
    );

    return query
    insert into "graphile_worker"._private_jobs as jobs
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
    join "graphile_worker"._private_tasks as tasks on tasks.identifier = spec.identifier
    left join "graphile_worker"._private_job_queues as queues on queues.queue_name = spec.queue_name
    order by spec.place
    returning jobs.id;
end;
$function$;

CREATE OR REPLACE FUNCTION graphile_worker._kongtask_add_single(identifier text, payload json DEFAULT NULL::json, queue_name text DEFAULT NULL::text, run_at timestamp with time zone DEFAULT NULL::timestamp with time zone, max_attempts integer DEFAULT NULL::integer, job_key text DEFAULT NULL::text, priority integer DEFAULT NULL::integer, flags text[] DEFAULT NULL::text[], job_key_mode text DEFAULT 'replace'::text)
 RETURNS graphile_worker._private_jobs
 LANGUAGE plpgsql
AS $function$
declare
    added "graphile_worker"._private_jobs;
begin
    if job_key is null then
        added := "graphile_worker"._kongtask_add_one(
            identifier, payload, queue_name, run_at, max_attempts, priority, flags
        );
        if added.id is not null then
            return added;
        end if;
    end if;
    if job_key is null or coalesce(job_key_mode, 'replace') in ('replace', 'preserve_run_at') then
        select jobs.* into added
        from "graphile_worker"._kongtask_add_specs(
            array[
                row(
                    identifier, payload, queue_name, run_at, max_attempts::smallint, job_key,
                    priority::smallint, flags
                )::"graphile_worker".job_spec
            ],
            job_key_mode = 'preserve_run_at'
        ) as jobs;
        return added;
    end if;
    return "graphile_worker".add_job(
        identifier, payload, queue_name, run_at, max_attempts, job_key, priority, flags,
        job_key_mode
    );
end;
$function$;

CREATE OR REPLACE FUNCTION graphile_worker._kongtask_add_specs(specs graphile_worker.job_spec[], job_key_preserve_run_at boolean DEFAULT false)
 RETURNS SETOF graphile_worker._private_jobs
 LANGUAGE plpgsql
AS $function$
declare
    job_keys text[] := array(
        select spec.job_key from unnest(specs) as spec where spec.job_key is not null
    );
begin
    insert into "graphile_worker"._private_tasks as tasks (identifier)
    select distinct spec.identifier
    from unnest(specs) as spec
    where not exists (
        select 1 from "graphile_worker"._private_tasks as known where known.identifier = spec.identifier
    )
    on conflict do nothing;

    insert into "graphile_worker"._private_job_queues as queues (queue_name)
    select distinct spec.queue_name
    from unnest(specs) as spec
    where spec.queue_name is not null
      and not exists (
          select 1 from "graphile_worker"._private_job_queues as known where known.queue_name = spec.queue_name
      )
    on conflict do nothing;

    if cardinality(job_keys) > 0 then
        perform "graphile_worker"._kongtask_free_keys(job_keys);
    end if;

    perform pg_notify(
        'jobs:insert',
        '{"r":' || random()::text || ',"count":' || array_length(specs, 1)::text || '}'
    );

    return query
    insert into "graphile_worker"._private_jobs as jobs
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
    join "graphile_worker"._private_tasks as tasks on tasks.identifier = spec.identifier
    left join "graphile_worker"._private_job_queues as queues on queues.queue_name = spec.queue_name
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
$function$;

CREATE OR REPLACE FUNCTION graphile_worker._kongtask_free_keys(job_keys text[])
 RETURNS void
 LANGUAGE plpgsql
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
AS $function$
begin
    update "graphile_worker"._private_jobs as jobs
    set key = null, attempts = jobs.max_attempts, updated_at = now()
    where jobs.key = any (job_keys) and not jobs.is_available;
end;
$function$;

CREATE OR REPLACE FUNCTION graphile_worker._kongtask_may_insert()
 RETURNS boolean
 LANGUAGE sql
 STABLE
AS $function$
    select has_table_privilege($kongtask_table$"graphile_worker"._private_jobs$kongtask_table$, 'insert')
$function$;

CREATE OR REPLACE FUNCTION graphile_worker._kongtask_route_job(identifier text, payload json DEFAULT NULL::json, queue_name text DEFAULT NULL::text, run_at timestamp with time zone DEFAULT NULL::timestamp with time zone, max_attempts integer DEFAULT NULL::integer, job_key text DEFAULT NULL::text, priority integer DEFAULT NULL::integer, flags text[] DEFAULT NULL::text[], job_key_mode text DEFAULT 'replace'::text)
 RETURNS graphile_worker._kongtask_added
 LANGUAGE plpgsql
AS $function$
declare
    added "graphile_worker"._private_jobs;
begin
    if not "graphile_worker"._kongtask_may_insert() then
        return "graphile_worker"._kongtask_add_job(
            identifier, payload, queue_name, run_at, max_attempts, job_key, priority, flags,
            job_key_mode
        );
    end if;
    added := "graphile_worker"._kongtask_add_single(
        identifier, payload, queue_name, run_at, max_attempts, job_key, priority, flags,
        job_key_mode
    );
    return (
        added.id, identifier, queue_name, added.payload, added.priority, added.run_at,
        added.attempts, added.max_attempts, added.last_error, added.created_at, added.updated_at,
        added.key, added.revision, added.locked_at, added.locked_by, added.flags,
        added.traceparent, added.tracestate
    )::"graphile_worker"._kongtask_added;
end;
$function$;

CREATE OR REPLACE FUNCTION graphile_worker._kongtask_route_jobs(specs graphile_worker.job_spec[], job_key_preserve_run_at boolean DEFAULT false)
 RETURNS SETOF graphile_worker._kongtask_added
 LANGUAGE plpgsql
AS $function$
declare
    added "graphile_worker"._private_jobs[];
begin
    if not "graphile_worker"._kongtask_may_insert() then
        return query
        select jobs.* from "graphile_worker"._kongtask_add_jobs(specs, job_key_preserve_run_at) as jobs;
        return;
    end if;
    added := "graphile_worker"._kongtask_add_any(specs, job_key_preserve_run_at);
    return query
    select
        jobs.id, tasks.identifier, queues.queue_name, jobs.payload, jobs.priority, jobs.run_at,
        jobs.attempts, jobs.max_attempts, jobs.last_error, jobs.created_at, jobs.updated_at,
        jobs.key, jobs.revision, jobs.locked_at, jobs.locked_by, jobs.flags, jobs.traceparent,
        jobs.tracestate
    from unnest(added) as jobs
    join "graphile_worker"._private_tasks as tasks on tasks.id = jobs.task_id
    left join "graphile_worker"._private_job_queues as queues on queues.id = jobs.job_queue_id;
end;
$function$;

CREATE OR REPLACE FUNCTION graphile_worker._kongtask_route_plain(specs graphile_worker.job_spec[])
 RETURNS SETOF bigint
 LANGUAGE plpgsql
AS $function$
begin
    if not "graphile_worker"._kongtask_may_insert() then
        return query select jobs.id from "graphile_worker"._kongtask_add_jobs(specs) as jobs;
        return;
    end if;
    return query select added from "graphile_worker"._kongtask_add_plain(specs) as added;
end;
$function$;

CREATE OR REPLACE FUNCTION graphile_worker._kongtask_take_context()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
    new.traceparent := nullif(current_setting('kongtask.traceparent', true), '');
    new.tracestate := nullif(current_setting('kongtask.tracestate', true), '');
    return new;
end;
$function$;

CREATE OR REPLACE FUNCTION graphile_worker.add_job(identifier text, payload json DEFAULT NULL::json, queue_name text DEFAULT NULL::text, run_at timestamp with time zone DEFAULT NULL::timestamp with time zone, max_attempts integer DEFAULT NULL::integer, job_key text DEFAULT NULL::text, priority integer DEFAULT NULL::integer, flags text[] DEFAULT NULL::text[], job_key_mode text DEFAULT 'replace'::text)
 RETURNS graphile_worker._private_jobs
 LANGUAGE plpgsql
AS $function$
declare
    added "graphile_worker"._private_jobs;
begin
    if job_key is null or coalesce(job_key_mode, 'replace') in ('replace', 'preserve_run_at') then
        select jobs.* into added
        from "graphile_worker".add_jobs(
            array[
                row(
                    identifier, payload, queue_name, run_at, max_attempts::smallint, job_key,
                    priority::smallint, flags
                )::"graphile_worker".job_spec
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

    insert into "graphile_worker"._private_tasks as tasks (identifier)
    select add_job.identifier
    where not exists (
        select 1 from "graphile_worker"._private_tasks as known where known.identifier = add_job.identifier
    )
    on conflict do nothing;

    insert into "graphile_worker"._private_job_queues as queues (queue_name)
    select add_job.queue_name
    where add_job.queue_name is not null
      and not exists (
          select 1
          from "graphile_worker"._private_job_queues as known
          where known.queue_name = add_job.queue_name
      )
    on conflict do nothing;

    insert into "graphile_worker"._private_jobs as jobs
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
    from "graphile_worker"._private_tasks as tasks
    left join "graphile_worker"._private_job_queues as queues on queues.queue_name = add_job.queue_name
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
$function$;

CREATE OR REPLACE FUNCTION graphile_worker.add_jobs(specs graphile_worker.job_spec[], job_key_preserve_run_at boolean DEFAULT false)
 RETURNS SETOF graphile_worker._private_jobs
 LANGUAGE plpgsql
AS $function$
begin
    insert into "graphile_worker"._private_tasks as tasks (identifier)
    select distinct spec.identifier
    from unnest(specs) as spec
    where not exists (
        select 1 from "graphile_worker"._private_tasks as known where known.identifier = spec.identifier
    )
    on conflict do nothing;

    insert into "graphile_worker"._private_job_queues as queues (queue_name)
    select distinct spec.queue_name
    from unnest(specs) as spec
    where spec.queue_name is not null
      and not exists (
          select 1 from "graphile_worker"._private_job_queues as known where known.queue_name = spec.queue_name
      )
    on conflict do nothing;

    -- A job that runs, or is used up, keeps what it knew: it hands its key to a new job.
    update "graphile_worker"._private_jobs as jobs
    set key = null, attempts = jobs.max_attempts, updated_at = now()
    from unnest(specs) as spec
    where jobs.key = spec.job_key and not jobs.is_available;

    -- Of no specs at all the count is null, and so is the text: that too is sent, as an empty one.
    perform pg_notify(
        'jobs:insert',
        '{"r":' || random()::text || ',"count":' || array_length(specs, 1)::text || '}'
    );

    return query
    insert into "graphile_worker"._private_jobs as jobs
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
    join "graphile_worker"._private_tasks as tasks on tasks.identifier = spec.identifier
    left join "graphile_worker"._private_job_queues as queues on queues.queue_name = spec.queue_name
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
$function$;

CREATE OR REPLACE FUNCTION graphile_worker.complete_jobs(job_ids bigint[])
 RETURNS SETOF graphile_worker._private_jobs
 LANGUAGE sql
AS $function$
    delete from "graphile_worker"._private_jobs as jobs
    where jobs.id = any (complete_jobs.job_ids)
      and (jobs.locked_at is null or jobs.locked_at < now() - interval '4 hours')
    returning jobs.*;
$function$;

CREATE OR REPLACE FUNCTION graphile_worker.force_unlock_workers(worker_ids text[])
 RETURNS void
 LANGUAGE sql
AS $function$
    update "graphile_worker"._private_jobs as jobs
    set locked_by = null, locked_at = null
    where jobs.locked_by = any (force_unlock_workers.worker_ids);
    update "graphile_worker"._private_job_queues as queues
    set locked_by = null, locked_at = null
    where queues.locked_by = any (force_unlock_workers.worker_ids);
$function$;

CREATE OR REPLACE FUNCTION graphile_worker.permanently_fail_jobs(job_ids bigint[], error_message text DEFAULT NULL::text)
 RETURNS SETOF graphile_worker._private_jobs
 LANGUAGE sql
AS $function$
    update "graphile_worker"._private_jobs as jobs
    set attempts = jobs.max_attempts,
        last_error = coalesce(permanently_fail_jobs.error_message, 'Manually marked as failed'),
        updated_at = now()
    where jobs.id = any (permanently_fail_jobs.job_ids)
      and (jobs.locked_at is null or jobs.locked_at < now() - interval '4 hours')
    returning jobs.*;
$function$;

CREATE OR REPLACE FUNCTION graphile_worker.remove_job(job_key text)
 RETURNS graphile_worker._private_jobs
 LANGUAGE plpgsql
 STRICT
AS $function$
declare
    removed "graphile_worker"._private_jobs;
begin
    delete from "graphile_worker"._private_jobs as jobs
    where jobs.key = remove_job.job_key
      and (jobs.locked_at is null or jobs.locked_at < now() - interval '4 hours')
    returning jobs.* into removed;
    if found then
        perform pg_notify('jobs:insert', format('{"r":%s,"count":-1}', random()));
        return removed;
    end if;

    -- It runs: it shall not run again, and its key is free for another.
    update "graphile_worker"._private_jobs as jobs
    set key = null, attempts = jobs.max_attempts, updated_at = now()
    where jobs.key = remove_job.job_key
    returning jobs.* into removed;
    return removed;
end;
$function$;

CREATE OR REPLACE FUNCTION graphile_worker.reschedule_jobs(job_ids bigint[], run_at timestamp with time zone DEFAULT NULL::timestamp with time zone, priority integer DEFAULT NULL::integer, attempts integer DEFAULT NULL::integer, max_attempts integer DEFAULT NULL::integer)
 RETURNS SETOF graphile_worker._private_jobs
 LANGUAGE sql
AS $function$
    update "graphile_worker"._private_jobs as jobs
    set run_at = coalesce(reschedule_jobs.run_at, jobs.run_at),
        priority = coalesce(reschedule_jobs.priority::smallint, jobs.priority),
        attempts = coalesce(reschedule_jobs.attempts::smallint, jobs.attempts),
        max_attempts = coalesce(reschedule_jobs.max_attempts::smallint, jobs.max_attempts),
        updated_at = now()
    where jobs.id = any (reschedule_jobs.job_ids)
      and (jobs.locked_at is null or jobs.locked_at < now() - interval '4 hours')
    returning jobs.*;
$function$;
