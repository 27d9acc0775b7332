-- Trained models.

-- name: add
insert into model (
    service_id, created, champion, slot_s, scores, calibration, verdict, live, log_sample
)
values (%(service_id)s, to_timestamp(%(created_s)s), %(champion)s, %(slot_s)s,
        %(scores)s::jsonb, %(calibration)s::jsonb, %(verdict)s, false, %(log_sample)s)
returning id;

-- At most one version is live: the unique index refuses a second one, so the old one goes first.
-- name: retire
update model set live = false where service_id = %(service_id)s and live and id <> %(model_id)s;

-- name: go_live
update model set live = true where service_id = %(service_id)s and id = %(model_id)s;

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
