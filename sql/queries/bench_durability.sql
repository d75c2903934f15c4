-- Read what a commit waits for on this server, for this role.
-- returns  fsync: whether anything is flushed at all; synchronous_commit: off, local, on, ...
select
  current_setting('fsync')::boolean as fsync,
  current_setting('synchronous_commit') as synchronous_commit
