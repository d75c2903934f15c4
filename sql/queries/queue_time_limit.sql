-- Give the statements of this transaction a time limit, and have them not compiled, which may take
-- longer than they do.
-- $1 text  the limit in milliseconds
-- returns  nothing worth reading
select set_config('statement_timeout', $1::text, true), set_config('jit', 'off', true)
