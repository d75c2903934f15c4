
-- A role that may log in; give it a password with `alter role … password`, or with \password in psql.
do {create_role};
