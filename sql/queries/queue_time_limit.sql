-- Give the statements of this transaction a time limit.
-- $1 text  the limit in milliseconds
-- returns  nothing worth reading
select set_config('statement_timeout', $1::text, true)
