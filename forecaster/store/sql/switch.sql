-- What an operator switched.

-- name: add
insert into switch (made, service, name, value, why, made_by)
values (to_timestamp(%(made_s)s), %(service)s, %(name)s, %(value)s, %(why)s, %(by)s);

-- name: state
select distinct on (service, name) service, name, value
from switch
where name in ('mode', 'freeze', 'pin')
order by service, name, id desc;

-- name: newest
select id, extract(epoch from made)::float8, service, name, value, why, made_by
from switch
where id < %(before_id)s
order by id desc
limit %(limit)s;
