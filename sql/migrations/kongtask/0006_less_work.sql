-- Own step 6: less work for each job, and fewer bytes in the write-ahead log.
-- Measured on PostgreSQL 15, no-op jobs fetched 500 at a time with a checkpoint before: 715 bytes a
-- job before this step, 590 after it; Graphile Worker alone writes 637.
-- More than half of each page of the job table stays free for what locking writes. Not for updates
-- in place, which there are none of (see step 5): a row's new version on the page of the old one is
-- logged as the difference between the two, without the payload and without a second lock. A new
-- version is some 32 bytes longer than the old one, so that at 50 a fifth of the smallest jobs found
-- no room any more, and at 43 all do. Jobs do not stay long, and their table is small.
-- The index of locked jobs holds four bytes of a pool's id instead of all of it, which may be long
-- where it begins with the name of a pod.

alter table {schema}._private_jobs set (fillfactor = 43);

drop index {schema}._kongtask_jobs_locked_index;

create index _kongtask_jobs_locked_index on {schema}._private_jobs (hashtext(locked_by))
    where locked_at is not null;

-- Whether the caller may add jobs by itself, asked for every job: without a look into the catalog,
-- which took a tenth of the time of adding one.
create or replace function {schema}._kongtask_may_insert()
returns boolean
language sql
stable
as $kongtask$
    select has_table_privilege($kongtask_table${schema}._private_jobs$kongtask_table$, 'insert')
$kongtask$;
