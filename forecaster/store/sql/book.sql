-- The ledger.

-- Events of every unit that lives in a range; each life from its beginning on.
-- name: life_events
select e.tier, e.seq, e.unit_id, extract(epoch from e.at)::float8,
       e.before, e.after, e.seconds, e.reason, e.provider, e.pool
from unit_life l join unit_event e on e.tier = l.tier and e.unit_id = l.unit_id
where l.service_id = %(service_id)s and l.born < to_timestamp(%(to_s)s)
  and (l.ended is null or l.ended >= to_timestamp(%(from_s)s))
order by e.tier, e.seq;

-- name: tariffs
select unit, price_per_hour, min_billing_s, billing_step_s, extract(epoch from since)::float8, pool
from tariff
where service_id = %(service_id)s
order by since;

-- name: tariffs_in_force
select distinct on (service_id, pool)
       service_id, pool, unit, price_per_hour, min_billing_s, billing_step_s
from tariff
where service_id = any(%(numbers)s)
order by service_id, pool, since desc;

-- name: add_tariff
insert into tariff (service_id, pool, since, unit, price_per_hour, min_billing_s, billing_step_s)
values (
    %(service_id)s, %(pool)s, to_timestamp(%(since_s)s), %(unit)s, %(price_per_hour)s, %(min_billing_s)s,
    %(billing_step_s)s
)
on conflict (service_id, pool, since) do update
set unit = excluded.unit, price_per_hour = excluded.price_per_hour,
    min_billing_s = excluded.min_billing_s, billing_step_s = excluded.billing_step_s;

-- name: entries
select extract(epoch from start)::float8, requests, outside, refused, arrivals, held
from book
where service_id = %(service_id)s
  and start >= to_timestamp(%(from_s)s) and start < to_timestamp(%(to_s)s)
order by start;

-- name: last_entry
select extract(epoch from max(start))::float8 from book where service_id = %(service_id)s;

-- name: put
insert into book (service_id, start, requests, outside, refused, arrivals, held)
values (
    %(service_id)s, to_timestamp(%(start_s)s), %(requests)s, %(outside)s, %(refused)s,
    %(arrivals)s, %(held)s::jsonb
)
on conflict (service_id, start) do update
set requests = excluded.requests, outside = excluded.outside, refused = excluded.refused,
    arrivals = excluded.arrivals,
    held = case when excluded.held = '{}'::jsonb then book.held else excluded.held end;

-- name: aim
insert into shadow (service_id, at, units)
values (%(service_id)s, to_timestamp(%(at_s)s), %(units)s)
on conflict (service_id, at) do update set units = excluded.units;

-- What was aimed at in a range, and what was in force when it began.
-- name: aims
select extract(epoch from at)::float8, units
from shadow
where service_id = %(service_id)s and (at < to_timestamp(%(to_s)s) or %(to_s)s = %(from_s)s)
  and at >= coalesce(
      (select max(at) from shadow
       where service_id = %(service_id)s and at <= to_timestamp(%(from_s)s)),
      to_timestamp(%(from_s)s))
order by at;

-- name: aims_in_force
select s.name, a.units
from service s cross join lateral (
    select units from shadow where service_id = s.id order by at desc limit 1
) a;

-- name: refuse
insert into refusal (service_id, start, unit_s, requests)
values (%(service_id)s, date_trunc('hour', to_timestamp(%(at_s)s), 'UTC'), %(unit_s)s, %(requests)s)
on conflict (service_id, start) do update
set unit_s = refusal.unit_s + excluded.unit_s, requests = refusal.requests + excluded.requests;

-- name: refused
select s.name, sum(r.unit_s), sum(r.requests)
from refusal r join service s on s.id = r.service_id
where r.start >= to_timestamp(%(from_s)s) and r.start < to_timestamp(%(to_s)s)
group by s.name;
