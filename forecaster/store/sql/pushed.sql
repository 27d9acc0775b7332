-- Samples and spans that senders push.

-- Adds series that are new and says which those are.
-- name: add_series
insert into pushed_series (service_id, name, labels, key, since)
select %(service_id)s, u.name, u.labels::jsonb, u.key, to_timestamp(u.since_s)
from unnest(%(names)s::text[], %(labels)s::text[], %(keys)s::bytea[], %(since_s)s::float8[])
    as u (name, labels, key, since_s)
where not exists (
    select from pushed_series s where s.service_id = %(service_id)s and s.key = u.key
)
order by u.key
on conflict (service_id, key) do nothing
returning key;

-- Sums of increments so far; nobody else adds to them before this transaction ends.
-- name: running
select key, running, extract(epoch from run_until)::float8
from pushed_series
where service_id = %(service_id)s and key = any (%(keys)s)
order by key
for update;

-- name: run
update pushed_series s
set running = u.running, run_until = to_timestamp(u.until_s)
from unnest(%(keys)s::bytea[], %(running)s::float8[], %(until_s)s::float8[]) as u (key, running, until_s)
where s.service_id = %(service_id)s and s.key = u.key;

-- The newest sample of a minute stays. Rows in order: two senders never wait for each other in a circle.
-- name: put
insert into pushed_sample as had (series_id, minute, at, value)
select s.id, to_timestamp(u.minute_s), to_timestamp(u.at_s), u.value
from unnest(%(keys)s::bytea[], %(minute_s)s::float8[], %(at_s)s::float8[], %(values)s::float8[])
    as u (key, minute_s, at_s, value)
join pushed_series s on s.service_id = %(service_id)s and s.key = u.key
order by s.id, u.minute_s
on conflict (series_id, minute) do update
set at = excluded.at, value = excluded.value
where excluded.at > had.at;

-- name: due
insert into pushed as p (service_id, since, pulled, newest, due)
select id, to_timestamp(%(first_s)s), meter_until, to_timestamp(%(last_s)s), to_timestamp(%(first_s)s)
from service where id = %(service_id)s
on conflict (service_id) do update
set since = least(p.since, excluded.since), newest = greatest(p.newest, excluded.newest),
    due = least(p.due, excluded.due);

-- Samples count from where a query stopped reading or, before the first is counted, where a log ends.
-- name: take
update pushed p
set reading = least(p.reading, p.due), due = null
from service s
where s.id = p.service_id and s.name = %(service)s
returning extract(epoch from p.reading)::int8, extract(epoch from p.newest)::int8,
          extract(epoch from greatest(p.since, p.pulled, case when s.meter is null then (
              select max(d.start) + interval '1 minute' from demand_slot d where d.service_id = s.id
          ) end))::int8;

-- name: taken
update pushed p
set reading = to_timestamp(%(until_s)s)
from service s
where s.id = p.service_id and s.name = %(service)s;

-- name: kept
select s.labels, extract(epoch from s.since)::float8,
       array_agg(extract(epoch from p.minute)::int8 order by p.minute),
       array_agg(extract(epoch from p.at)::float8 order by p.minute),
       array_agg(p.value order by p.minute)
from pushed_series s
join service v on v.id = s.service_id and v.name = %(service)s
join pushed_sample p on p.series_id = s.id
    and p.minute >= to_timestamp(%(from_s)s) and p.minute <= to_timestamp(%(to_s)s)
where s.name = %(name)s
group by s.id
order by s.id;

-- name: forget_samples
delete from pushed_sample where minute < to_timestamp(%(before_s)s);

-- name: forget_series
delete from pushed_series s
where since < to_timestamp(%(before_s)s) and not exists (select from pushed_sample p where p.series_id = s.id);

-- name: forget_spans
delete from pushed_span where arrival < to_timestamp(%(before_s)s);

-- name: add_spans
insert into pushed_span (id, arrival)
select u.id, to_timestamp(u.arrival_s)
from unnest(%(ids)s::bytea[], %(arrival_s)s::float8[]) as u (id, arrival_s)
order by u.id
on conflict (id) do nothing
returning id;

-- name: newest
select s.name, extract(epoch from p.newest)::float8 from pushed p join service s on s.id = p.service_id;
