-- Ingested logs and how far they were read.

-- name: head_lengths
select distinct head_bytes from source where service = %(service)s;

-- name: read_at
select extract(epoch from max(read_at))::float8 from source where service = %(service)s and name = %(name)s;

-- A reader that was killed may leave a transaction that is just ending: wait for it, so that what
-- is read here is how things stand.
-- name: lock_heads
select pg_advisory_xact_lock(7465, key)
from (select distinct hashtext(head) as key from unnest(%(heads)s::text[]) as head order by 1) as keys;

-- name: with_heads
select id, head_bytes, head_sha256, service, name, "offset", prefix_sha256, marks,
       lines, accepted, rejected, tail, tail_offset, tail_lines
from source
where service = %(service)s and head_sha256 = any (%(heads)s)
order by "offset" desc, id
for update;

-- Two processes that meet the same new log at the same moment go one after the other ...
-- name: lock_head
select pg_advisory_xact_lock(7465, hashtext(%(head_sha256)s));

-- ... and the second one sees that the first one was there.
-- name: rivals
select count(*) from source where service = %(service)s and head_sha256 = %(head_sha256)s;

-- name: add
insert into source (
    service, name, head_bytes, head_sha256, prefix_sha256, marks, "offset",
    lines, accepted, rejected, tail, tail_offset, tail_lines
) values (
    %(service)s, %(name)s, %(head_bytes)s, %(head_sha256)s, %(prefix_sha256)s, %(marks)s, %(offset)s,
    %(lines)s, %(accepted)s, %(rejected)s, %(tail)s, %(tail_offset)s, %(tail_lines)s
)
returning id;

-- Locks the row and says where it stood.
-- name: lock
select "offset" from source where id = %(source_id)s for update;

-- name: advance
update source
set name = %(name)s, prefix_sha256 = %(prefix_sha256)s, marks = %(marks)s, "offset" = %(offset)s,
    lines = %(lines)s, accepted = %(accepted)s, rejected = %(rejected)s,
    tail = %(tail)s, tail_offset = %(tail_offset)s, tail_lines = %(tail_lines)s, read_at = now()
where id = %(source_id)s;
