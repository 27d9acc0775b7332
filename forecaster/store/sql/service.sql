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
select pg_advisory_xact_lock(7464, %(service_id)s);

-- name: count
update service
set requests = requests + %(requests)s,
    first_arrival = least(first_arrival, to_timestamp(%(first_s)s::float8)),
    last_arrival = greatest(last_arrival, to_timestamp(%(last_s)s::float8))
where id = %(service_id)s;
