-- Add many jobs without keys, in the order given; whoever may only add goes through KongTask's
-- function with the rights of the tables' owner.
-- $1 text  JSON array of objects with the fields of job_spec
-- $2 text  traceparent to keep with the jobs, or null
-- $3 text  tracestate to keep with the jobs, or null
-- returns  the ids of the jobs
select added.id
from (
    select
        set_config('kongtask.traceparent', coalesce($2::text, ''), true) as traceparent,
        set_config('kongtask.tracestate', coalesce($3::text, ''), true) as tracestate
    offset 0
) as context,
lateral {schema}._kongtask_route_plain(
    array(
        select specs
        from json_populate_recordset(
            null::{schema}.job_spec,
            ($1::text || left(context.traceparent || context.tracestate, 0))::json
        ) as specs
    )
) as added (id)
