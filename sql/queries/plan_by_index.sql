-- Have this session plan each statement once, and find jobs by index only.
-- A prepared statement keeps the plan of its first runs until the table is analysed. A worker that
-- began on an empty table would read and sort all of a backlog of 100,000 for each fetch: 64 ms
-- instead of 1 ms. Planning anew for each fetch would take as long as the fetch itself. Plans
-- without an alternative look expensive, and such are not worth compiling; nor is a heartbeat, for
-- which PostgreSQL may expect many locked jobs, and which it then compiled for a tenth of a second.
-- returns  one row
select
    set_config('plan_cache_mode', 'force_generic_plan', false) as once,
    set_config('enable_seqscan', 'off', false) as seqscan,
    set_config('enable_bitmapscan', 'off', false) as bitmapscan,
    set_config('jit', 'off', false) as jit
