-- Write as little as can be written, to see how long a commit takes.
-- $1  a name that was not written before
insert into {schema}._private_job_queues (queue_name) values ($1)
