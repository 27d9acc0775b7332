-- Numbers of units set by hand.

-- name: add
insert into pin (service_id, made, until, units, why)
values (%(service_id)s, to_timestamp(%(made_s)s), to_timestamp(%(until_s)s), %(units)s, %(why)s);

-- name: newest
select p.units, extract(epoch from p.made)::float8, extract(epoch from p.until)::float8, p.why
from pin p join service s on s.id = p.service_id
where s.name = %(service)s
order by p.id desc
limit 1;
