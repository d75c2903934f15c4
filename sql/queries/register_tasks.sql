-- Make sure that tasks have an id. Existing names use up no value of the identity.
-- $1 text[]  task identifiers
-- returns    nothing
insert into {schema}._private_tasks (identifier)
select names.identifier
from unnest($1::text[]) as names (identifier)
where not exists (
    select 1 from {schema}._private_tasks as tasks where tasks.identifier = names.identifier
)
on conflict (identifier) do nothing
