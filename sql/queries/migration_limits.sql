-- Bound the wait for locks in this transaction: who waits to change a table stops all who use it.
-- $1 text  longest wait, such as 10s
-- returns  one row
select
    set_config('lock_timeout', $1::text, true),
    set_config('statement_timeout', '0', true)
