-- What happened, newest first; each list goes on below the number at which the last page ended.

-- name: alert
select id, extract(epoch from opened)::float8, service, kind, said,
       extract(epoch from resolved)::float8, ''
from alert
where id < %(before_id)s and (%(service)s = '' or service = %(service)s)
order by id desc
limit %(limit)s;

-- A change of the whole installation is one of every service.
-- name: change
select id, extract(epoch from made)::float8, service, name || ' ' || value, why, null::float8, made_by
from switch
where id < %(before_id)s and (%(service)s = '' or service in ('', %(service)s))
order by id desc
limit %(limit)s;

-- name: order
select d.id, extract(epoch from d.at)::float8, s.name,
       (d.output ->> 'verb') || ' ' || (d.output ->> 'units'), d.output ->> 'explanation',
       null::float8, d.made_by
from decision d join service s on s.id = d.service_id
where d.id < %(before_id)s and d.ordered and (%(service)s = '' or s.name = %(service)s)
order by d.id desc
limit %(limit)s;

-- Ticks that changed something; plans are journalled beside them.
-- name: decided
select d.id, d.output, d.ordered
from decision d join service s on s.id = d.service_id
where s.name = %(service)s and d.id < %(before_id)s
  and (d.inputs ->> 'kind') is distinct from 'plan'
order by d.id desc
limit %(limit)s;

-- The newest plan of each service.
-- name: plans_in_force
select s.name, d.id, d.inputs, d.output
from service s cross join lateral (
    select id, inputs, output from decision
    where service_id = s.id and (inputs ->> 'kind') = 'plan'
    order by at desc, id desc
    limit 1
) d;

-- From the order of a unit to its answered warm-up request, the newest units of each service.
-- name: leads
select s.name, array_agg(l.lead_s order by l.at, l.seq)
from service s cross join lateral (
    select extract(epoch from e.at - u.born)::float8 as lead_s, e.at, e.seq
    from unit_event e join unit_life u using (tier, unit_id)
    where e.service_id = s.id and e.after = 'ready' and e.seconds <> 'NaN'
    order by e.at desc, e.seq desc
    limit %(most)s
) l
group by s.name;

-- What units that are on their way did so far.
-- name: starting
select s.name, e.tier, e.seq, e.unit_id, extract(epoch from e.at)::float8,
       e.before, e.after, e.seconds, e.reason, e.provider, e.pool
from unit_life u join unit_event e using (tier, unit_id) join service s on s.id = e.service_id
where u.ended is null and not exists (
    select from unit_event r
    where r.tier = u.tier and r.unit_id = u.unit_id and r.after in ('ready', 'draining')
)
order by e.tier, e.seq;
