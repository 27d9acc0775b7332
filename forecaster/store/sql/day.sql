-- Whole days of demand on the grid of a season.

-- Whose demand nobody changes until this transaction ends; see `lock` of service.sql.
-- name: hold
select id from unnest(%(service_ids)s::int4[]) as u (id) where pg_try_advisory_xact_lock_shared(7464, id);

-- name: read
select q.service_id, array_agg(extract(epoch from d.start)::int8 order by d.start),
       string_agg(d.sums, '' order by d.start)
from unnest(%(service_ids)s::int4[], %(from_s)s::float8[]) as q (service_id, from_s)
join demand_day d on d.service_id = q.service_id and d.slot_s = %(slot_s)s and d.weighed = %(weighed)s
    and d.start >= to_timestamp(q.from_s) and d.start < to_timestamp(%(to_s)s)
group by q.service_id;

-- name: add
insert into demand_day (service_id, slot_s, weighed, start, sums)
select u.service_id, %(slot_s)s, %(weighed)s, to_timestamp(u.start_s), u.sums
from unnest(%(service_id)s::int4[], %(start_s)s::float8[], %(sums)s::bytea[]) as u (service_id, start_s, sums)
on conflict do nothing;

-- What no history reaches back to any more.
-- name: prune
delete from demand_day d
using unnest(%(service_ids)s::int4[], %(from_s)s::float8[]) as q (service_id, from_s)
where d.service_id = q.service_id and d.start < to_timestamp(q.from_s) - interval '7 days';

-- name: forget
delete from demand_day d
using unnest(%(service_ids)s::int4[], %(from_s)s::float8[], %(to_s)s::float8[]) as q (service_id, from_s, to_s)
where d.service_id = q.service_id
  and d.start >= to_timestamp(q.from_s) - interval '1 day' and d.start < to_timestamp(q.to_s);
