-- Delete task identifiers without jobs, except those to keep and those of pools that live. Workers of
-- Graphile Worker remember ids and do not say which: none of them should run.
-- $1 text[]  identifiers to keep
-- returns    how many
with gone as (
    delete from {schema}._private_tasks as tasks
    where tasks.identifier <> all ($1::text[])
      and not exists (select 1 from {schema}._private_jobs as jobs where jobs.task_id = tasks.id)
      and not exists (
          select 1
          from {schema}._kongtask_pools as pools
          where tasks.identifier = any (pools.tasks)
            and pools.heartbeat_at > now() - interval '1 hour'
      )
    returning 1
)
select count(*)::int as count from gone
