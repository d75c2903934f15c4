-- See what a worker needs on the tables and this role lacks; sql/roles/worker.sql grants it.
-- $1 text  the schema's name
-- returns  name, missing (rights), is_hidden (row level security shows no row), for each table
select
    relations.relname::text as name,
    array(
        select wanted.privilege
        from unnest(needs.privileges) as wanted (privilege)
        where not has_table_privilege(relations.oid, wanted.privilege)
    ) as missing,
    row_security_active(relations.oid) and not exists (
        select 1
        from pg_policy as policies
        cross join unnest(policies.polroles) as role (oid)
        where policies.polrelid = relations.oid
          and policies.polcmd = '*'
          and policies.polpermissive
          and (role.oid = 0 or pg_has_role(current_user, role.oid, 'usage'))
    ) as is_hidden
from (
    values
        ('_private_jobs', array['select', 'insert', 'update', 'delete']),
        ('_private_job_queues', array['select', 'insert', 'update']),
        ('_private_tasks', array['select', 'insert']),
        ('_private_known_crontabs', array['select', 'insert', 'update']),
        ('_kongtask_pools', array['select', 'insert', 'update', 'delete']),
        ('_kongtask_migrations', array['select']),
        ('migrations', array['select'])
) as needs (name, privileges)
join pg_class as relations on relations.relname = needs.name
join pg_namespace as namespaces on namespaces.oid = relations.relnamespace
where namespaces.nspname = $1::text
order by 1
