-- Tell the workers of every schema in this database that a level was reached.
-- $1 int   level
-- $2 bool  whether it is breaking
-- returns  one row
select pg_notify(
    'worker:migrate',
    json_build_object('migrationNumber', $1::int, 'breaking', $2::bool)::text
)
