-- Read which tasks each living pool of workers has announced.
-- returns  host (the worker's name) and tasks
select pools.host, pools.tasks
from {schema}._kongtask_pools as pools
where pools.heartbeat_at > now() - interval '1 minute'
