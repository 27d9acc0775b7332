-- What happened, newest first; each list goes on below the number at which the last page ended.

-- name: alert
select id, extract(epoch from opened)::float8, service, kind, said,
       extract(epoch from resolved)::float8
from alert
where id < %(before_id)s and (%(service)s = '' or service = %(service)s)
order by id desc
limit %(limit)s;

-- A change of the whole installation is one of every service.
-- name: change
select id, extract(epoch from made)::float8, service, name || ' ' || value, why, null::float8
from switch
where id < %(before_id)s and (%(service)s = '' or service in ('', %(service)s))
order by id desc
limit %(limit)s;

-- name: order
select d.id, extract(epoch from d.at)::float8, s.name,
       (d.output ->> 'verb') || ' ' || (d.output ->> 'units'), d.output ->> 'explanation',
       null::float8
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
