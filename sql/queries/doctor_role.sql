-- See who asks and what it may do beside the tables.
-- $1 text  the schema's name
-- returns  role, may_use (the schema), may_add (the functions that only add); no row without the schema
select
    current_user::text as role,
    has_schema_privilege(namespaces.oid, 'usage') as may_use,
    exists (
        select 1
        from pg_proc as functions
        where functions.pronamespace = namespaces.oid
          and functions.proname = '_kongtask_add_job'
          and has_function_privilege(functions.oid, 'execute')
    ) as may_add
from pg_namespace as namespaces
where namespaces.nspname = $1::text
