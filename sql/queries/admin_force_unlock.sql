-- Unlock everything that pools hold. Only right when those pools are dead.
-- $1 text[]  pool ids
-- returns    one row
select {schema}.force_unlock_workers($1::text[])
