-- Forecasts that are verified when their targets arrive.

-- Two in a quarter of an hour would say the same twice.
-- name: add
insert into foretold (service_id, made, start, slot_s, model_id, load, slots, levels, said)
select %(service_id)s, to_timestamp(%(made_s)s), to_timestamp(%(start_s)s), %(slot_s)s, %(model_id)s,
       %(load)s, %(slots)s::int4[], %(levels)s::float8[], %(said)s
where not exists (
    select from foretold
    where service_id = %(service_id)s
      and made > to_timestamp(%(made_s)s - %(apart_s)s) and made <= to_timestamp(%(made_s)s)
)
on conflict do nothing;

-- name: last
select extract(epoch from f.made)::float8, extract(epoch from f.start)::float8, f.slot_s, f.model_id,
       f.load, f.slots, f.levels, f.said
from foretold f join service s on s.id = f.service_id
where s.name = %(service)s
  and f.made > (select max(made) from foretold where service_id = s.id) - make_interval(secs => %(back_s)s)
order by f.made;

-- name: drop
delete from foretold
where made <= (select max(made) from foretold) - make_interval(days => %(keep_days)s);
