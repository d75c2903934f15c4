-- Read the level of Graphile Worker's tables, also when levels are not yet marked as breaking.
-- $1 int[]  levels known to be breaking
-- returns   one row: graphile, breaking; null when no level was reached
select
    max(migrations.id) as graphile,
    max(migrations.id) filter (
        where coalesce(
            (to_jsonb(migrations) ->> 'breaking')::boolean,
            migrations.id = any ($1::int[])
        )
    ) as breaking
from {schema}.migrations as migrations
