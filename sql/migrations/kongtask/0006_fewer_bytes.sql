-- Own step 6: fewer bytes in the write-ahead log for each job.
-- Measured on PostgreSQL 15, no-op jobs fetched 500 at a time with a checkpoint before: 715 bytes a
-- job before this step, 625 after it; Graphile Worker alone writes 636.
-- Half of each page of the job table stays free for what locking writes. Not for updates in place,
-- which there are none of (see step 5): a row's new version on the page of the old one is logged as
-- the difference between the two, without the payload, and both are in one page to read. Each
-- page takes half as many jobs; one that waits for nothing is short-lived, and the table small.
-- The index of locked jobs holds four bytes of a pool's id instead of all of it, which may be long
-- where it begins with the name of a pod.

alter table {schema}._private_jobs set (fillfactor = 50);

drop index {schema}._kongtask_jobs_locked_index;

create index _kongtask_jobs_locked_index on {schema}._private_jobs (hashtext(locked_by))
    where locked_at is not null;
