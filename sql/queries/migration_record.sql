-- Record levels, before their scripts run: the rows are the lock among all who migrate.
-- $1 int[]  levels
-- $2 int[]  levels that are breaking
insert into {schema}.migrations (id, breaking)
select levels.id, levels.id = any ($2::int[])
from unnest($1::int[]) as levels (id)
order by levels.id
