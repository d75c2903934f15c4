-- Ask who is at the other end of a connection.
-- returns  pid of the server process, which a pooler does not pass on as it greets, and whether it
--          refuses writes, as a standby does and a primary that was demoted
select pg_backend_pid() as pid, current_setting('transaction_read_only')::boolean as is_read_only
