-- Pause a recurring job: no minute is later than its last execution from now on, so that no
-- scheduler wins one, whichever program it is.
-- $1 text  identifier
-- returns  identifier; no row when it is unknown or paused already
update {schema}._private_known_crontabs as crontabs
set last_execution = 'infinity'
where crontabs.identifier = $1 and crontabs.last_execution is distinct from 'infinity'
returning crontabs.identifier
