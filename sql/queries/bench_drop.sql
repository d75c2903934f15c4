-- Take the scratch schema of a measurement away, with all that is in it, however long that takes
-- and however short a time this role is given for a statement.
set local statement_timeout = 0;
drop schema if exists {schema} cascade
