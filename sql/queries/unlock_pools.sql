-- Read what pools of workers say of themselves. The sessions are those that claim_life opened.
-- returns  pool_id, host, tasks, silent_for, recovery_timeout, has_session
select
    pools.pool_id,
    pools.host,
    pools.tasks,
    now() - pools.heartbeat_at as silent_for,
    pools.recovery_timeout,
    exists (
        select 1
        from pg_locks as locks
        where locks.locktype = 'advisory'
          and locks.granted
          and locks.objsubid = 1
          and locks.database = (select oid from pg_database where datname = current_database())
          and (locks.classid::bigint << 32 | locks.objid::bigint)
              = hashtextextended(pools.pool_id, 0)
    ) as has_session
from {schema}._kongtask_pools as pools
