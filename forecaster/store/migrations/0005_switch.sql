-- What an operator switched: append-only, the newest row of a name counts, all of them are the audit log.
create table switch (
    id          int8 generated always as identity primary key,
    made        timestamptz not null,
    service     text not null,               -- empty: the whole installation
    name        text not null,               -- mode, freeze, pin, order
    value       text not null,
    why         text not null
);
create index switch_newest on switch (service, name, id);
