-- Applying migrations, one process at a time.

-- name: lock
select pg_advisory_xact_lock(7463, 1);

-- name: create_journal
create table if not exists migration (
    number   int4 primary key,
    name     text not null,
    sha256   text not null,
    applied  timestamptz not null default now()
);

-- name: applied
select number, name, sha256 from migration order by number;

-- name: record
insert into migration (number, name, sha256) values (%(number)s, %(name)s, %(sha256)s);
