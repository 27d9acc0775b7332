-- Spans of demand that a source has counted.

-- name: span
select extract(epoch from meter_since)::int8, extract(epoch from meter_until)::int8
from service
where name = %(service)s and meter is not null;

-- Whether slots are known that no meter has counted.
-- name: logged
select 1
from demand_slot d
join service s on s.id = d.service_id
where s.name = %(service)s and d.start >= to_timestamp(%(from_s)s) and d.start < to_timestamp(%(to_s)s)
limit 1;

-- Widens the span; a window that does not touch it changes nothing and returns no row.
-- name: widen
update service
set meter = %(name)s,
    meter_since = least(meter_since, to_timestamp(%(from_s)s)),
    meter_until = greatest(meter_until, to_timestamp(%(to_s)s))
where id = %(service_id)s
  and (meter is null or (to_timestamp(%(from_s)s) <= meter_until and to_timestamp(%(to_s)s) >= meter_since))
returning id;

-- Takes back what was counted; says how much it was and when it began.
-- name: take
with gone as (
    delete from demand_slot d
    using service s
    where s.id = %(service_id)s and d.service_id = s.id
      and d.start >= s.meter_since and d.start < s.meter_until
    returning d.arrivals, d.start
)
select coalesce(sum(arrivals), 0)::int8, coalesce(extract(epoch from min(start)), 0)::float8 from gone;

-- name: forget
update service set meter = null, meter_since = null, meter_until = null where id = %(service_id)s;

-- What was pushed is counted anew.
-- name: count_again
update pushed set due = since, pulled = null where service_id = %(service_id)s;

-- Since when requests of these services are counted elsewhere.
-- name: metered
select name, extract(epoch from meter_since)::float8
from service
where id = any (%(service_ids)s) and meter is not null;

-- Of a model server's own latencies.
-- name: reported_until
select extract(epoch from max(r.start))::float8
from reported r join service s on s.id = r.service_id
where s.name = %(service)s;

-- name: told_since
select s.name
from service s
where exists (select from reported r where r.service_id = s.id and r.start >= to_timestamp(%(from_s)s));

-- name: forget_reported
delete from reported
where service_id = %(service_id)s
  and start >= to_timestamp(%(from_s)s) and start < to_timestamp(%(to_s)s);

-- name: add_reported
insert into reported (service_id, start, requests, outside)
select %(service_id)s, to_timestamp(n.start_s), n.requests, n.outside
from unnest(%(starts)s::float8[], %(requests)s::float8[], %(outside)s::float8[]) as n (start_s, requests, outside);

-- name: reported
select extract(epoch from r.start)::float8, r.requests, r.outside
from reported r join service s on s.id = r.service_id
where s.name = %(service)s and r.start >= to_timestamp(%(from_s)s) and r.start < to_timestamp(%(to_s)s)
order by r.start;

-- name: drop_reported
delete from reported r
using (select service_id, max(start) as newest from reported group by service_id) as n
where r.service_id = n.service_id and r.start < n.newest - make_interval(days => %(days)s);
