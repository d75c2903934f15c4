-- Foundation: the mark of breaking levels, for tables of a Graphile Worker that had none.

alter table {schema}.migrations add column if not exists breaking boolean not null default false;

update {schema}.migrations set breaking = true where id in (1, 3, 11, 13, 14, 16, 19);
