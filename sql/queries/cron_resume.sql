-- Resume a paused recurring job; the minutes that have passed are not made up for.
-- $1 text  identifier
-- returns  identifier; no row when it is unknown or not paused
update {schema}._private_known_crontabs as crontabs
set last_execution = clock_timestamp()
where crontabs.identifier = $1 and crontabs.last_execution = 'infinity'
returning crontabs.identifier
