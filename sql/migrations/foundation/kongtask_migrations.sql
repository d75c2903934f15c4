-- Foundation: the table in which KongTask records its own additions.
-- They are numbered apart, so that no later level of Graphile Worker can have the same number.

create table {schema}._kongtask_migrations (
    id int constraint _kongtask_migrations_pkey primary key,
    ts timestamptz not null default now()
);
