-- Read what stands in a schema, without the schema's name.
-- $1 text  the schema's name
-- $2 text  the same, always in quotes, as it stands in the bodies of functions
-- returns  kind, name, definition, is_valid
select 'table' as kind, relations.relname::text as name, '' as definition, true as is_valid
from pg_class as relations
join pg_namespace as namespaces on namespaces.oid = relations.relnamespace
where namespaces.nspname = $1::text and relations.relkind in ('r', 'v')
union all
select
    'column',
    relations.relname || '.' || columns.attname,
    format_type(columns.atttypid, columns.atttypmod),
    true
from pg_attribute as columns
join pg_class as relations on relations.oid = columns.attrelid
join pg_namespace as namespaces on namespaces.oid = relations.relnamespace
where namespaces.nspname = $1::text
  and relations.relkind = 'r'
  and columns.attnum > 0
  and not columns.attisdropped
union all
select
    'constraint',
    relations.relname || '.' || constraints.conname,
    pg_get_constraintdef(constraints.oid),
    constraints.convalidated
from pg_constraint as constraints
join pg_class as relations on relations.oid = constraints.conrelid
join pg_namespace as namespaces on namespaces.oid = relations.relnamespace
where namespaces.nspname = $1::text
union all
select
    'index',
    relations.relname,
    replace(pg_get_indexdef(relations.oid), quote_ident($1::text) || '.', ''),
    indexes.indisvalid and indexes.indisready
from pg_index as indexes
join pg_class as relations on relations.oid = indexes.indexrelid
join pg_namespace as namespaces on namespaces.oid = relations.relnamespace
where namespaces.nspname = $1::text
union all
select 'trigger', triggers.tgname, '', triggers.tgenabled in ('O', 'A')
from pg_trigger as triggers
join pg_class as relations on relations.oid = triggers.tgrelid
join pg_namespace as namespaces on namespaces.oid = relations.relnamespace
where namespaces.nspname = $1::text and not triggers.tgisinternal
union all
select 'function', functions.proname, replace(functions.prosrc, $2::text || '.', ''), true
from pg_proc as functions
join pg_namespace as namespaces on namespaces.oid = functions.pronamespace
where namespaces.nspname = $1::text
