-- Remove the heartbeat of a pool that ended well and holds nothing any more.
-- $1 text  pool id
-- returns  nothing
delete from {schema}._kongtask_pools as pools
where pools.pool_id = $1::text
  and not exists (
      select 1
      from {schema}._private_jobs as jobs
      where hashtext(jobs.locked_by) = hashtext($1::text)
        and jobs.locked_by = $1::text
        and jobs.locked_at is not null
  )
