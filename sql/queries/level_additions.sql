-- Read the number of the last own addition.
-- returns  one row: additions
select coalesce(max(migrations.id), 0) as additions
from {schema}._kongtask_migrations as migrations
