-- Record own additions, before their scripts run: the rows are the lock among all who migrate.
-- $1 int[]  numbers
insert into {schema}._kongtask_migrations (id)
select numbers.id from unnest($1::int[]) as numbers (id) order by numbers.id
