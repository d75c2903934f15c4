-- Own step 2: pools of workers that live say so here.
-- What a silent one had locked is freed within the minute instead of after four hours.

create table {schema}._kongtask_pools (
    pool_id text constraint _kongtask_pools_pkey primary key,
    host text,
    concurrency int,
    tasks text[],
    started_at timestamptz not null default now(),
    heartbeat_at timestamptz not null default now()
);

alter table {schema}._kongtask_pools enable row level security;
