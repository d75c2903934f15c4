-- Levels 1 to 16: the tables of Graphile Worker, made in one go.
-- Graphile Worker comes here by sixteen steps, which leave odd names behind (jobs_pkey1,
-- jobs_id_seq1). The names are part of the contract: errors and later migrations use them.
-- The functions that change again on the way to the present level are made there: no step is ever
-- seen without those that follow it.

create table {schema}._private_tasks (
    id int generated always as identity (sequence name {schema}.tasks_id_seq)
        constraint tasks_pkey primary key,
    identifier text not null
        constraint tasks_identifier_key unique
        constraint tasks_identifier_check check (length(identifier) <= 128)
);

create table {schema}._private_job_queues (
    id int generated always as identity (sequence name {schema}.job_queues_id_seq)
        constraint job_queues_pkey1 primary key,
    queue_name text not null
        constraint job_queues_queue_name_key unique
        constraint job_queues_queue_name_check check (length(queue_name) <= 128),
    locked_at timestamptz,
    locked_by text,
    is_available boolean not null generated always as (locked_at is null) stored
);

-- No foreign keys: checking them would cost time at every job.
create table {schema}._private_jobs (
    id bigint generated always as identity (sequence name {schema}.jobs_id_seq1)
        constraint jobs_pkey1 primary key,
    job_queue_id int,
    task_id int not null,
    payload json not null default '{}'::json,
    priority smallint not null default 0,
    run_at timestamptz not null default now(),
    attempts smallint not null default 0,
    max_attempts smallint not null default 25
        constraint jobs_max_attempts_check check (max_attempts >= 1),
    last_error text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    key text
        constraint jobs_key_key1 unique
        constraint jobs_key_check check (length(key) > 0 and length(key) <= 512),
    locked_at timestamptz,
    locked_by text,
    revision int not null default 0,
    flags jsonb,
    is_available boolean not null
        generated always as (locked_at is null and attempts < max_attempts) stored
);

create table {schema}._private_known_crontabs (
    identifier text constraint known_crontabs_pkey primary key,
    known_since timestamptz not null,
    last_execution timestamptz
);

create index jobs_main_index on {schema}._private_jobs (priority, run_at)
    include (id, task_id, job_queue_id)
    where is_available = true;

create index jobs_no_queue_index on {schema}._private_jobs (priority, run_at)
    include (id, task_id)
    where is_available = true and job_queue_id is null;

-- Without a policy, only the owner of the tables sees their rows.
alter table {schema}._private_tasks enable row level security;
alter table {schema}._private_job_queues enable row level security;
alter table {schema}._private_jobs enable row level security;
alter table {schema}._private_known_crontabs enable row level security;

create type {schema}.job_spec as (
    identifier text,
    payload json,
    queue_name text,
    run_at timestamptz,
    max_attempts smallint,
    job_key text,
    priority smallint,
    flags text[]
);

-- What follows is for hands: it leaves alone what runs, unless its lock is older than four hours,
-- the age at which Graphile Worker takes a worker for dead.

create function {schema}.complete_jobs(job_ids bigint[])
returns setof {schema}._private_jobs
language sql
as $kongtask$
    delete from {schema}._private_jobs as jobs
    where jobs.id = any (complete_jobs.job_ids)
      and (jobs.locked_at is null or jobs.locked_at < now() - interval '4 hours')
    returning jobs.*;
$kongtask$;

create function {schema}.permanently_fail_jobs(job_ids bigint[], error_message text default null)
returns setof {schema}._private_jobs
language sql
as $kongtask$
    update {schema}._private_jobs as jobs
    set attempts = jobs.max_attempts,
        last_error = coalesce(permanently_fail_jobs.error_message, 'Manually marked as failed'),
        updated_at = now()
    where jobs.id = any (permanently_fail_jobs.job_ids)
      and (jobs.locked_at is null or jobs.locked_at < now() - interval '4 hours')
    returning jobs.*;
$kongtask$;

create function {schema}.reschedule_jobs(
    job_ids bigint[],
    run_at timestamptz default null,
    priority int default null,
    attempts int default null,
    max_attempts int default null
)
returns setof {schema}._private_jobs
language sql
as $kongtask$
    update {schema}._private_jobs as jobs
    set run_at = coalesce(reschedule_jobs.run_at, jobs.run_at),
        priority = coalesce(reschedule_jobs.priority::smallint, jobs.priority),
        attempts = coalesce(reschedule_jobs.attempts::smallint, jobs.attempts),
        max_attempts = coalesce(reschedule_jobs.max_attempts::smallint, jobs.max_attempts),
        updated_at = now()
    where jobs.id = any (reschedule_jobs.job_ids)
      and (jobs.locked_at is null or jobs.locked_at < now() - interval '4 hours')
    returning jobs.*;
$kongtask$;

-- Since level 19, locked_by names a pool of workers; the parameter kept its old name.
create function {schema}.force_unlock_workers(worker_ids text[])
returns void
language sql
as $kongtask$
    update {schema}._private_jobs as jobs
    set locked_by = null, locked_at = null
    where jobs.locked_by = any (force_unlock_workers.worker_ids);
    update {schema}._private_job_queues as queues
    set locked_by = null, locked_at = null
    where queues.locked_by = any (force_unlock_workers.worker_ids);
$kongtask$;
