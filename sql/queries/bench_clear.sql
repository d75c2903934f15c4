-- Forget the jobs that a measurement has left behind, in its scratch schema.
truncate {schema}._private_jobs
