-- The append-only decision journal.

-- name: append
insert into decision (service_id, at, inputs, output, ordered, made_by)
values (%(service_id)s, to_timestamp(%(at_s)s), %(inputs)s::json, %(output)s::json, %(ordered)s, %(by)s)
returning id;

-- name: newest
select d.id, s.name, extract(epoch from d.at)::float8, d.inputs, d.output, d.ordered
from decision d join service s on s.id = d.service_id
where s.name = %(service)s and d.id < %(before_id)s
order by d.id desc
limit %(limit)s;

-- name: at
select d.id, s.name, extract(epoch from d.at)::float8, d.inputs, d.output, d.ordered
from decision d join service s on s.id = d.service_id
where s.name = %(service)s and d.at <= to_timestamp(%(at_s)s)
  and (d.inputs ->> 'kind') is distinct from 'plan'
order by d.at desc, d.id desc
limit 1;
