-- Read whether the server takes writes and vacuums by itself, and how full its notification queue is.
-- returns  one row: version, role (who asks), sees_all (what other roles' sessions do), is_standby,
--          autovacuum, track_counts, notifications (from 0 to 1)
select
    current_setting('server_version') as version,
    current_user::text as role,
    pg_has_role(current_user, 'pg_read_all_stats', 'usage') as sees_all,
    pg_is_in_recovery() as is_standby,
    current_setting('autovacuum')::boolean as autovacuum,
    current_setting('track_counts')::boolean as track_counts,
    pg_notification_queue_usage() as notifications
