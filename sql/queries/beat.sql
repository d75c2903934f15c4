-- Say that this pool lives, free what dead pools had locked, and tell what this pool has lost.
-- A pool is dead when its session is gone (see claim_life) and it was silent for six tenths of its
-- recovery time, or when it was silent for four times as long, session or not: then its process
-- is stopped or cut off. Locks of Graphile Worker, which does not beat, are freed after its own
-- four hours.
-- $1 text      pool id
-- $2 text      name of the host or pod
-- $3 int       concurrency
-- $4 text[]    task identifiers
-- $5 interval  recovery time of this pool
-- $6 bool      whether the attempts count that die with this pool
-- $7 bool      whether to free what dead pools hold
-- $8 bigint[]  ids of the jobs that this pool believes to hold
-- returns      reason, pool_id, jobs: one row for each pool whose jobs were freed, with how many;
--              reason 'lost': the ids, one a row, of jobs that this pool holds no longer
with alive as (
    insert into {schema}._kongtask_pools as pools
        (pool_id, host, concurrency, tasks, recovery_timeout, attempts_count)
    values ($1::text, $2::text, $3::int, $4::text[], $5::interval, $6::bool)
    on conflict (pool_id) do update set heartbeat_at = now()
),
sessions as (
    select locks.classid::bigint << 32 | locks.objid::bigint as key
    from pg_locks as locks
    where $7::bool
      and locks.locktype = 'advisory'
      and locks.granted
      and locks.objsubid = 1
      and locks.database = (select oid from pg_database where datname = current_database())
),
dead as (
    select
        pools.pool_id,
        pools.attempts_count,
        case when sessions.key is null then 'gone' else 'silent' end as reason
    from {schema}._kongtask_pools as pools
    left join sessions on sessions.key = hashtextextended(pools.pool_id, 0)
    where $7::bool
      and pools.pool_id <> $1::text
      and pools.heartbeat_at < now() - pools.recovery_timeout
          * case when sessions.key is null then 0.6 else 4 end
),
stale_jobs as (
    select
        jobs.id,
        jobs.locked_by,
        coalesce(dead.reason, 'stale') as reason,
        coalesce(dead.attempts_count, true) as attempts_count
    from {schema}._private_jobs as jobs
    left join dead on dead.pool_id = jobs.locked_by
    where jobs.locked_at is not null
      and (
          dead.pool_id is not null
          or (
              jobs.locked_at < now() - interval '4 hours'
              and not exists (
                  select 1 from {schema}._kongtask_pools as pools where pools.pool_id = jobs.locked_by
              )
          )
      )
    for update of jobs skip locked
),
freed_jobs as (
    update {schema}._private_jobs as jobs
    set locked_by = null,
        locked_at = null,
        attempts = case
            when stale_jobs.attempts_count then jobs.attempts
            else greatest(0, jobs.attempts - 1)
        end,
        run_at = greatest(jobs.run_at, now()),
        last_error = 'The worker died while it ran this job (' || stale_jobs.locked_by || ')'
    from stale_jobs
    where jobs.id = stale_jobs.id
    returning stale_jobs.locked_by as pool_id, stale_jobs.reason
),
freed_queues as (
    update {schema}._private_job_queues as queues
    set locked_by = null, locked_at = null
    where queues.locked_at is not null
      and (
          queues.locked_by in (select pool_id from dead)
          or (
              queues.locked_at < now() - interval '4 hours'
              and not exists (
                  select 1 from {schema}._kongtask_pools as pools where pools.pool_id = queues.locked_by
              )
          )
      )
),
forgotten as (
    delete from {schema}._kongtask_pools as pools
    where $7::bool
      and pools.heartbeat_at < now() - greatest(interval '1 hour', pools.recovery_timeout * 8)
      and pools.pool_id <> $1::text
)
select freed_jobs.reason, freed_jobs.pool_id, count(*) as jobs
from freed_jobs
group by freed_jobs.reason, freed_jobs.pool_id
union all
select 'lost', null, held.id
from unnest($8::bigint[]) as held (id)
where not exists (
    select 1
    from {schema}._private_jobs as jobs
    where jobs.id = held.id and jobs.locked_by = $1::text and jobs.locked_at is not null
)
