-- Make the scratch schema of a measurement; fails when there is a schema of this name.
create schema {schema}
