-- Delete named queues without jobs that nobody holds.
-- returns  how many
with gone as (
    delete from {schema}._private_job_queues as queues
    where queues.locked_at is null
      and not exists (
          select 1 from {schema}._private_jobs as jobs where jobs.job_queue_id = queues.id
      )
    returning 1
)
select count(*)::int as count from gone
