-- Own step 3: finding the jobs that run needs no look at those that wait.

create index _kongtask_jobs_locked_index on {schema}._private_jobs (locked_by)
    where locked_at is not null;
