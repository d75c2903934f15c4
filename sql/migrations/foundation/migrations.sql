-- Foundation: the table in which Graphile Worker and KongTask record the levels a schema reached.
-- A level is breaking when workers that do not know it must not go on.

create table {schema}.migrations (
    id int constraint migrations_pkey primary key,
    ts timestamptz not null default now(),
    breaking boolean not null default false
);
