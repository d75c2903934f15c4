-- Let this session prove that a pool of workers lives: the server frees the lock when the session
-- ends, however its process ended. Keepalives find a machine that is gone within some seconds.
-- $1 text  pool id
-- returns  one row
select
    pg_try_advisory_lock(hashtextextended($1::text, 0)) as claimed,
    set_config('tcp_keepalives_idle', '2', false) as idle,
    set_config('tcp_keepalives_interval', '1', false) as interval,
    set_config('tcp_keepalives_count', '3', false) as count,
    set_config('tcp_user_timeout', '5000', false) as user_timeout
