-- Read what is known of recurring jobs.
-- returns  identifier, known_since, last_execution (null before the first, and while paused), paused
select
    crontabs.identifier,
    crontabs.known_since,
    case when isfinite(crontabs.last_execution) then crontabs.last_execution end as last_execution,
    coalesce(crontabs.last_execution = 'infinity', false) as paused
from {schema}._private_known_crontabs as crontabs
order by crontabs.identifier
