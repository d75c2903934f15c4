-- See what stands in a schema, for any role, whatever it may read.
-- $1 text  the schema's name
-- $2 text[]  names of tables and views to look for
-- returns  one row: server (version number), role, database, owner (null without the schema),
--          relations (the names that exist), columns ("name type" of the table migrations)
select
    current_setting('server_version_num')::int as server,
    current_user::text as role,
    current_database()::text as database,
    pg_get_userbyid(namespaces.nspowner)::text as owner,
    array(
        select relations.relname::text
        from pg_class as relations
        where relations.relnamespace = namespaces.oid and relations.relname = any ($2::text[])
    ) as relations,
    array(
        select attributes.attname || ' ' || format_type(attributes.atttypid, attributes.atttypmod)
        from pg_attribute as attributes
        join pg_class as relations on relations.oid = attributes.attrelid
        where relations.relnamespace = namespaces.oid
          and relations.relname = 'migrations'
          and attributes.attnum > 0
          and not attributes.attisdropped
    ) as columns
from (select $1::text as name) as wanted
left join pg_namespace as namespaces on namespaces.nspname = wanted.name
