-- Read which tasks are known: those with an id, and those that pools of workers have announced.
-- returns  identifier, in alphabetical order
select tasks.identifier
from {schema}._private_tasks as tasks
union
select unnest(pools.tasks)
from {schema}._kongtask_pools as pools
order by 1
