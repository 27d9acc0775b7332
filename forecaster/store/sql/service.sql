-- Services and their figures.

-- name: add
insert into service (name) select unnest(%(names)s::text[]) on conflict (name) do nothing;

-- name: ids
select name, id from service where name = any (%(names)s);

-- name: ends
select name, id, extract(epoch from first_arrival)::float8, extract(epoch from last_arrival)::float8
from service
where name = any (%(names)s) and requests > 0;

-- name: names
select name from service where requests > 0 order by name;

-- name: summaries
select name, extract(epoch from first_arrival)::float8, extract(epoch from last_arrival)::float8, requests
from service
where requests > 0
order by name;

-- Demand is merged by one transaction per service at a time; always taken in rising order of the id.
-- name: lock
select pg_advisory_xact_lock(7464, id)
from (select id from unnest(%(service_ids)s::int4[]) as u (id) order by id offset 0) as o;

-- name: count
update service s
set requests = s.requests + q.requests,
    first_arrival = least(s.first_arrival, to_timestamp(q.first_s)),
    last_arrival = greatest(s.last_arrival, to_timestamp(q.last_s))
from unnest(%(service_ids)s::int4[], %(requests)s::int8[], %(first_s)s::float8[], %(last_s)s::float8[])
    as q (service_id, requests, first_s, last_s)
where s.id = q.service_id;
