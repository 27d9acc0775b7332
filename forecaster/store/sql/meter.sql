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
