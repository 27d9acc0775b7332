-- Trained models and their forecasts.

-- name: add
insert into model (service_id, created, champion, slot_s, scores, calibration, verdict, live)
values (%(service_id)s, to_timestamp(%(created_s)s), %(champion)s, %(slot_s)s,
        %(scores)s::jsonb, %(calibration)s::jsonb, %(verdict)s, false)
returning id;

-- At most one version is live: the unique index refuses a second one, so the old one goes first.
-- name: retire
update model set live = false where service_id = %(service_id)s and live and id <> %(model_id)s;

-- name: go_live
update model set live = true where service_id = %(service_id)s and id = %(model_id)s;

-- name: live
select m.id, s.name, extract(epoch from m.created)::float8, m.champion, m.slot_s, m.scores,
       m.calibration, m.verdict, m.live
from model m join service s on s.id = m.service_id
where s.name = %(service)s and m.live;

-- name: versions
select m.id, s.name, extract(epoch from m.created)::float8, m.champion, m.slot_s, m.scores,
       m.calibration, m.verdict, m.live
from model m join service s on s.id = m.service_id
where s.name = %(service)s
order by m.id desc;

-- name: add_forecast
insert into forecast (service_id, model_id, model, made, start, slot_s, levels, rates, loads)
values (%(service_id)s, %(model_id)s, %(model)s, to_timestamp(%(made_s)s), to_timestamp(%(start_s)s),
        %(slot_s)s, %(levels)s::float8[], %(rates)s, %(loads)s)
returning id;

-- name: latest_forecast
select s.name, f.model, extract(epoch from f.made)::float8, extract(epoch from f.start)::float8,
       f.slot_s, f.levels, f.rates, f.loads
from forecast f join service s on s.id = f.service_id
where s.name = %(service)s
order by f.made desc, f.id desc
limit 1;

-- name: drop_forecasts
delete from forecast
where made <= (select max(made) from forecast) - make_interval(days => %(keep_days)s);
