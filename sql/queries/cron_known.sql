-- Read what is known of recurring jobs.
-- returns  identifier, known_since, last_execution (null before the first)
select crontabs.identifier, crontabs.known_since, crontabs.last_execution
from {schema}._private_known_crontabs as crontabs
