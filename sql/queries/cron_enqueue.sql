-- Add the jobs of one cron tick, each once among any number of schedulers: an identifier wins when
-- moving its last execution forward to the tick succeeds. Identifiers that another scheduler is
-- just deciding on are left for a later call. Waiting for one while holding others could close a
-- circle: Graphile Worker takes them in its crontab's order, whatever that is.
-- $1 text         JSON list of identifier, task, payload (JSON as text) and job options
-- $2 timestamptz  the tick
-- $3 boolean      wait for the others instead; right for a list of one
-- returns         identifier, job_id and is_left of the winners and of what was left, in the order
--                 given; a winner's job_id is null when a race lost it, and then the
--                 transaction must be rolled back
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
free as materialized (
    select crontabs.identifier
    from {schema}._private_known_crontabs as crontabs
    where crontabs.identifier in (select specs.identifier from specs)
    for no key update skip locked
),
left_over as materialized (
    select crontabs.identifier
    from {schema}._private_known_crontabs as crontabs
    where not $3
        and crontabs.identifier in (select specs.identifier from specs)
        and crontabs.identifier not in (select free.identifier from free)
),
won as (
    insert into {schema}._private_known_crontabs as crontabs
        (identifier, known_since, last_execution)
    select distinct specs.identifier, $2::timestamptz, $2::timestamptz
    from specs
    where specs.identifier not in (select left_over.identifier from left_over)
    order by specs.identifier
    on conflict (identifier) do update set last_execution = excluded.last_execution
    where crontabs.last_execution is null or crontabs.last_execution < excluded.last_execution
    returning crontabs.identifier
)
select winners.identifier, jobs.id as job_id, false as is_left, winners.place
from (
    select specs.*
    from specs
    join won on won.identifier = specs.identifier
    order by specs.place
    offset 0
) as winners,
lateral {schema}._kongtask_route_job(
    identifier => winners.task,
    payload => winners.payload,
    queue_name => winners.queue_name,
    run_at => $2::timestamptz,
    max_attempts => winners.max_attempts,
    job_key => winners.job_key,
    priority => winners.priority,
    job_key_mode => winners.job_key_mode
) as jobs
union all
select specs.identifier, null, true, specs.place
from specs
join left_over on left_over.identifier = specs.identifier
order by place
