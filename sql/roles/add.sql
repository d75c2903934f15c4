
-- What a web application does: add jobs, through functions that run as the owner of the tables. It
-- reads no job. It may see how far the schema is migrated, so that a mistake can be explained.
grant usage on schema {schema} to {role};
grant select on {schema}.migrations, {schema}._kongtask_migrations to {role};
grant execute on function
    {schema}._kongtask_add_job(text, json, text, timestamptz, int, text, int, text[], text),
    {schema}._kongtask_add_jobs({schema}.job_spec[], boolean),
    {schema}._kongtask_route_job(text, json, text, timestamptz, int, text, int, text[], text),
    {schema}._kongtask_route_jobs({schema}.job_spec[], boolean),
    {schema}._kongtask_route_plain({schema}.job_spec[]),
    {schema}._kongtask_may_insert()
    to {role};
