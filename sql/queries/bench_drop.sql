-- Take the scratch schema of a measurement away, with all that is in it.
drop schema {schema} cascade
