-- Level 19: nothing changes in the schema; the number alone says that locked_by names pools.
-- Workers older than this write their own id there and would not find their locks: it is breaking.

select 'locked_by names pools of workers';
