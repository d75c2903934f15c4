-- Say that this pool lives, and free what pools that stopped saying so had locked. One that is
-- silent but whose session still stands (see claim_life) lives. Locks of Graphile Worker, which has
-- no heartbeat, are freed after its own four hours.
-- $1 text      pool id
-- $2 text      name of the host or pod
-- $3 int       concurrency
-- $4 text[]    task identifiers
-- $5 interval  silence after which a pool counts as dead; null to free nothing of silent pools
-- returns      pool_id and number of jobs freed, one row for each dead pool that held any
with alive as (
    insert into {schema}._kongtask_pools as pools (pool_id, host, concurrency, tasks)
    values ($1::text, $2::text, $3::int, $4::text[])
    on conflict (pool_id) do update set heartbeat_at = now()
),
dead as (
    select pools.pool_id
    from {schema}._kongtask_pools as pools
    where pools.heartbeat_at < now() - $5::interval
      and pools.pool_id <> $1::text
      and not exists (
          select 1
          from pg_locks as locks
          where locks.locktype = 'advisory'
            and locks.granted
            and locks.objsubid = 1
            and locks.database = (select oid from pg_database where datname = current_database())
            and (locks.classid::bigint << 32 | locks.objid::bigint)
                = hashtextextended(pools.pool_id, 0)
      )
),
stale_jobs as (
    select jobs.id, jobs.locked_by
    from {schema}._private_jobs as jobs
    where jobs.locked_at is not null
      and (
          jobs.locked_by in (select pool_id from dead)
          or (
              jobs.locked_at < now() - interval '4 hours'
              and not exists (
                  select 1 from {schema}._kongtask_pools as pools where pools.pool_id = jobs.locked_by
              )
          )
      )
    for update skip locked
),
freed_jobs as (
    update {schema}._private_jobs as jobs
    set locked_by = null,
        locked_at = null,
        run_at = greatest(jobs.run_at, now()),
        last_error = 'The worker died while it ran this job (' || stale_jobs.locked_by || ')'
    from stale_jobs
    where jobs.id = stale_jobs.id
    returning stale_jobs.locked_by as pool_id
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
    where pools.heartbeat_at < now() - interval '1 day' and pools.pool_id <> $1::text
)
select pool_id, count(*) as jobs from freed_jobs group by pool_id
