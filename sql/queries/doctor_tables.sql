-- Read how much of each table is dead, when vacuum is due, and when it last ran.
-- $1 text  the schema's name
-- returns  name, live, dead, due_at, is_vacuumed (by autovacuum), vacuumed_ago or null
select
    tables.relname::text as name,
    tables.n_live_tup as live,
    tables.n_dead_tup as dead,
    (
        coalesce(
            options.threshold, current_setting('autovacuum_vacuum_threshold')::float8
        )
        + coalesce(options.scale, current_setting('autovacuum_vacuum_scale_factor')::float8)
        * greatest(relations.reltuples, 0)
    )::bigint as due_at,
    coalesce(options.enabled, true) as is_vacuumed,
    now() - greatest(tables.last_vacuum, tables.last_autovacuum) as vacuumed_ago
from pg_stat_user_tables as tables
join pg_class as relations on relations.oid = tables.relid
cross join lateral (
    select
        max(option_value) filter (where option_name = 'autovacuum_vacuum_threshold')::float8
            as threshold,
        max(option_value) filter (where option_name = 'autovacuum_vacuum_scale_factor')::float8
            as scale,
        max(option_value) filter (where option_name = 'autovacuum_enabled')::boolean as enabled
    from pg_options_to_table(relations.reloptions)
) as options
where tables.schemaname = $1::text
  and tables.relname in (
      '_private_jobs', '_private_job_queues', '_private_tasks', '_private_known_crontabs',
      '_kongtask_pools'
  )
order by tables.n_dead_tup desc
