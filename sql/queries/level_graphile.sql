-- Read the level of Graphile Worker's tables, also when levels are not yet marked as breaking.
-- $1 int[]  levels known to be breaking
-- returns   one row: graphile, breaking (null when no level was reached), settled (whether the last
--           level was recorded at least 10 seconds ago)
select
    max(migrations.id) as graphile,
    max(migrations.id) filter (
        where coalesce(
            (to_jsonb(migrations) ->> 'breaking')::boolean,
            migrations.id = any ($1::int[])
        )
    ) as breaking,
    coalesce(max(migrations.ts) < now() - interval '10 seconds', true) as settled
from {schema}.migrations as migrations
