-- Read the ids of tasks.
-- $1 text[]  task identifiers
-- returns    id, identifier
select tasks.id, tasks.identifier
from {schema}._private_tasks as tasks
where tasks.identifier = any ($1::text[])
