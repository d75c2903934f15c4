-- Rights of roles on the job tables in schema {schema}. Run it as the owner of the schema, and again
-- after an upgrade of KongTask that adds tables. Running it twice changes nothing.
begin;
set local lock_timeout = '10s';
