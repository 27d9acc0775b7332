-- Trained models.

-- Several at once, in their order. At most one version of a service is live: the unique index refuses a
-- second one, so the old ones go first.
-- name: add
insert into model (
    service_id, created, champion, slot_s, scores, calibration, verdict, live, log_sample
)
select u.service_id, to_timestamp(u.created_s), u.champion, u.slot_s, u.scores::jsonb,
       u.calibration::jsonb, u.verdict, u.live, u.log_sample
from unnest(
    %(service_id)s::int4[], %(created_s)s::float8[], %(champion)s::text[], %(slot_s)s::float8[],
    %(scores)s::text[], %(calibration)s::text[], %(verdict)s::text[], %(live)s::bool[],
    %(log_sample)s::float8[]
) with ordinality as u (
    service_id, created_s, champion, slot_s, scores, calibration, verdict, live, log_sample, place
)
order by u.place
returning id;

-- name: retire_all
update model set live = false where service_id = any (%(service_ids)s) and live;

-- name: retire
update model set live = false where service_id = %(service_id)s and live and id <> %(model_id)s;

-- name: go_live
update model set live = true where service_id = %(service_id)s and id = %(model_id)s;

-- Who serves, and who was about to take its place.
-- name: serving
select service_id, champion, coalesce(scores ->> 'challenger', ''), coalesce((scores ->> 'wins')::int4, 0)
from model
where service_id = any (%(service_ids)s) and live;

-- name: live
select m.id, s.name, extract(epoch from m.created)::float8, m.champion, m.slot_s, m.scores,
       m.calibration, m.verdict, m.live, m.log_sample
from model m join service s on s.id = m.service_id
where s.name = %(service)s and m.live;

-- name: versions
select m.id, s.name, extract(epoch from m.created)::float8, m.champion, m.slot_s, m.scores,
       m.calibration, m.verdict, m.live, m.log_sample
from model m join service s on s.id = m.service_id
where s.name = %(service)s
order by m.id desc;

-- name: lives
select m.id, s.name, extract(epoch from m.created)::float8, m.champion, m.slot_s, m.scores,
       m.calibration, m.verdict, m.live, m.log_sample
from model m join service s on s.id = m.service_id
where m.live and m.slot_s = %(slot_s)s and s.name <> %(but)s
order by m.id desc
limit %(limit)s;

-- Old versions go, as far as nothing that is kept was foretold by them.
-- name: prune
delete from model m
where not m.live
  and m.id not in (select id from model k where k.service_id = m.service_id order by k.id desc limit %(keep)s)
  and not exists (select from foretold f where f.model_id = m.id);
