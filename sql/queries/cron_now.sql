-- Read the database's clock, by which recurring jobs fire.
-- returns  now
select clock_timestamp() as now
