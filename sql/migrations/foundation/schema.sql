-- Foundation: the schema itself, when nobody made it beforehand.

create schema {schema};
