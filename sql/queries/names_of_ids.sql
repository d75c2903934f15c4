-- Read the names behind ids of tasks and of queues.
-- $1 int[]  task ids
-- $2 int[]  queue ids
-- returns   is_queue, id, name
select false as is_queue, tasks.id, tasks.identifier as name
from {schema}._private_tasks as tasks
where tasks.id = any ($1::int[])
union all
select true, queues.id, queues.queue_name
from {schema}._private_job_queues as queues
where queues.id = any ($2::int[])
