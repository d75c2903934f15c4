-- Remember the identifiers of recurring jobs; those known before stay as they are.
-- $1 text[]       identifiers
-- $2 timestamptz  known since
-- returns         nothing
insert into {schema}._private_known_crontabs (identifier, known_since)
select distinct names.identifier, $2::timestamptz
from unnest($1::text[]) as names (identifier)
order by names.identifier
on conflict (identifier) do nothing
