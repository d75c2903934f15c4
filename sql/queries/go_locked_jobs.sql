-- Count the jobs that workers of KongTask for Go still hold.
-- returns  jobs
select count(*)::int as jobs
from {schema}.jobs as jobs
where jobs.locked_at > now() - interval '4 hours'
