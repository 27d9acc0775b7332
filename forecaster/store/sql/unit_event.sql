-- The life of units, as the tier reported it.

-- name: copy
copy unit_event (
    tier, seq, unit_id, service_id, at, before, after, seconds, reason, provider, pool
) from stdin (format binary);

-- name: between
select e.tier, e.seq, e.unit_id, extract(epoch from e.at)::float8,
       e.before, e.after, e.seconds, e.reason, e.provider, e.pool
from unit_event e
where e.service_id = %(service_id)s
  and e.at >= to_timestamp(%(from_s)s) and e.at < to_timestamp(%(to_s)s)
order by e.at, e.tier, e.seq;

-- Lives of the units whose events were just stored.
-- name: live
insert into unit_life (tier, unit_id, service_id, born, ended)
select tier, unit_id, min(service_id),
       min(at - make_interval(secs => case when seconds = 'NaN' then 0 else seconds end)),
       max(at) filter (where after in ('gone', 'failed'))
from unit_event
where tier = %(tier)s and seq > %(seq)s
group by tier, unit_id
on conflict (tier, unit_id) do update set ended = coalesce(excluded.ended, unit_life.ended);
