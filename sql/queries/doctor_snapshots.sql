-- Read what keeps dead rows of this database from being removed, the longest first. What sessions
-- do stands in their query, which may hold anybody's values: it is not read.
-- returns  kind (session, prepared or slot), name, who, is_active, age (null for slots),
--          transactions (begun since its snapshot)
select holders.*
from (
    select
        'session' as kind,
        activity.pid::text as name,
        concat_ws(' of ', nullif(activity.application_name, ''), activity.usename) as who,
        activity.state is distinct from 'idle in transaction'
            and activity.state is distinct from 'idle in transaction (aborted)' as is_active,
        now() - activity.xact_start as age,
        coalesce(age(activity.backend_xmin), age(activity.backend_xid), 0) as transactions
    from pg_stat_activity as activity
    where activity.pid <> pg_backend_pid()
      and (activity.datname = current_database() or activity.datname is null)
      and activity.backend_type <> 'autovacuum worker'
      and (activity.xact_start is not null or activity.backend_xmin is not null)
    union all
    select
        'prepared', prepared.gid, 'of ' || prepared.owner, true, now() - prepared.prepared,
        age(prepared.transaction)
    from pg_prepared_xacts as prepared
    where prepared.database = current_database()
    union all
    select
        'slot', slots.slot_name, coalesce('of ' || slots.plugin, slots.slot_type), slots.active,
        null, greatest(age(slots.xmin), age(slots.catalog_xmin))
    from pg_replication_slots as slots
    where slots.xmin is not null or slots.catalog_xmin is not null
) as holders
order by holders.age desc nulls last
limit 20
