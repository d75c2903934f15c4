-- Send a notification.
-- $1 text  channel
-- $2 text  payload
-- returns  one row
select pg_notify($1::text, $2::text)
