-- What members said of the days to come.

-- name: kept
select q.service_id, f.member, extract(epoch from min(f.start))::float8,
       array_agg(f.scale order by f.start), string_agg(f.said, '' order by f.start),
       string_agg(f.error, '' order by f.start)
from unnest(%(service_ids)s::int4[], %(asked)s::text[]) as q (service_id, asked)
join fold f on f.service_id = q.service_id and f.asked = q.asked
group by q.service_id, f.member;

-- Who was backtested anew begins anew.
-- name: forget
delete from fold where service_id = any (%(service_ids)s);

-- name: add
insert into fold (service_id, member, start, asked, scale, said, error)
select u.service_id, u.member, to_timestamp(u.start_s), u.asked, u.scale, u.said, u.error
from unnest(
    %(service_id)s::int4[], %(member)s::text[], %(start_s)s::float8[], %(asked)s::text[],
    %(scale)s::float8[], %(said)s::bytea[], %(error)s::bytea[]
) as u (service_id, member, start_s, asked, scale, said, error)
on conflict do nothing;

-- Four weeks are verified at most.
-- name: prune
delete from fold f
using (
    select service_id, member, max(start) as newest
    from fold
    where service_id = any (%(service_ids)s)
    group by service_id, member
) as k
where f.service_id = k.service_id and f.member = k.member and f.start < k.newest - interval '30 days';
