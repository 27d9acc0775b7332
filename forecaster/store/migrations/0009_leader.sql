-- Who leads. The advisory lock elects; the number fences whoever was paused past its time.
create table leader (
    id      int4 primary key check (id = 1),
    number  int8 not null,
    holder  text not null,
    beat    timestamptz not null             -- on the database's own clock
);
insert into leader (id, number, holder, beat) values (1, 0, '', now());
