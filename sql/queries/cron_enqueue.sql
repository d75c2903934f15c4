-- Add the jobs of one cron tick, each once among any number of schedulers: an identifier wins when
-- moving its last execution forward to the tick succeeds. Rows are taken in the identifiers'
-- order, so that schedulers wait for each other and never in a circle.
-- $1 text         JSON list of identifier, task, payload (JSON as text) and job options
-- $2 timestamptz  the tick
-- returns         identifier and job_id of the winners, in the order given; job_id is null when
--                 add_job lost a race, and then the transaction must be rolled back
with specs as (
    select
        list.place,
        list.spec ->> 'identifier' as identifier,
        list.spec ->> 'task' as task,
        (list.spec ->> 'payload')::json as payload,
        list.spec ->> 'queue_name' as queue_name,
        (list.spec ->> 'max_attempts')::int as max_attempts,
        list.spec ->> 'job_key' as job_key,
        (list.spec ->> 'priority')::int as priority,
        coalesce(list.spec ->> 'job_key_mode', 'replace') as job_key_mode
    from json_array_elements($1::text::json) with ordinality as list (spec, place)
),
won as (
    insert into {schema}._private_known_crontabs as crontabs
        (identifier, known_since, last_execution)
    select distinct specs.identifier, $2::timestamptz, $2::timestamptz
    from specs
    order by specs.identifier
    on conflict (identifier) do update set last_execution = excluded.last_execution
    where crontabs.last_execution is null or crontabs.last_execution < excluded.last_execution
    returning crontabs.identifier
)
select winners.identifier, jobs.id as job_id
from (
    select specs.*
    from specs
    join won on won.identifier = specs.identifier
    order by specs.place
    offset 0
) as winners,
lateral {schema}.add_job(
    identifier => winners.task,
    payload => winners.payload,
    queue_name => winners.queue_name,
    run_at => $2::timestamptz,
    max_attempts => winners.max_attempts,
    job_key => winners.job_key,
    priority => winners.priority,
    job_key_mode => winners.job_key_mode
) as jobs
order by winners.place
