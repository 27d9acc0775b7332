-- What operators said of stretches of demand.

-- name: add
insert into judgement (service_id, made, start, until, keep, why)
values (%(service_id)s, to_timestamp(%(made_s)s), to_timestamp(%(start_s)s), to_timestamp(%(end_s)s),
        %(keep)s, %(why)s);

-- name: of
select extract(epoch from j.start)::float8, extract(epoch from j.until)::float8, j.keep, j.why
from judgement j join service s on s.id = j.service_id
where s.name = %(service)s
order by j.id;

-- name: of_many
select service_id, extract(epoch from start)::float8, extract(epoch from until)::float8, keep, why
from judgement
where service_id = any (%(service_ids)s)
order by id;
