-- Own step 4: each pool of workers says itself after what silence it counts as dead, and whether
-- the attempts that died with it count. Rows without a word of their own get the defaults.

alter table {schema}._kongtask_pools
    add column recovery_timeout interval not null default interval '10 seconds',
    add column attempts_count boolean not null default true;
