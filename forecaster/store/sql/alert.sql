-- Alerts and notices.

-- One alert a key: the first sight opens it, later ones only say that it lasts.
-- name: see
insert into alert (key, kind, service, said, urgent, opened, seen)
values (
    %(key)s, %(kind)s, %(service)s, %(said)s, %(urgent)s, to_timestamp(%(now_s)s),
    to_timestamp(%(now_s)s)
)
on conflict (key) where resolved is null do update
set seen = excluded.seen, said = excluded.said, urgent = excluded.urgent or alert.urgent
returning id, opened = seen;

-- name: announce
insert into notice (alert_id, event, hook, due)
values (%(alert_id)s, %(event)s, %(hook)s, to_timestamp(%(due_s)s))
on conflict (alert_id, event, hook) do update set due = least(notice.due, excluded.due);

-- name: over
update alert set resolved = to_timestamp(%(now_s)s)
where resolved is null and seen < to_timestamp(%(before_s)s)
returning id;

-- What nobody was told of needs no end: an unsent message goes, its resolved one is not made.
-- name: unsaid
delete from notice
where alert_id = %(alert_id)s and event = 'firing' and sent is null and tries = 0
returning hook;

-- name: said_to
select hook from notice
where alert_id = %(alert_id)s and event = 'firing' and (sent is not null or tries > 0);

-- name: due
select n.id, n.event, n.hook, n.tries, a.id, a.kind, a.service, a.said, a.urgent,
       extract(epoch from a.opened)::float8, extract(epoch from a.seen)::float8,
       extract(epoch from a.resolved)::float8
from notice n join alert a on a.id = n.alert_id
where n.sent is null and n.due <= to_timestamp(%(now_s)s) and n.tries < %(tries)s
order by n.due, n.id
limit %(limit)s;

-- Counted before it is tried: a crash in between costs a try and never a flood.
-- name: try
update notice set tries = tries + 1, due = to_timestamp(%(again_s)s) where id = %(notice_id)s;

-- name: sent
update notice set sent = to_timestamp(%(now_s)s), error = '' where id = %(notice_id)s;

-- name: failed
update notice set error = %(error)s where id = %(notice_id)s;

-- name: newest
select id, kind, service, said, urgent, extract(epoch from opened)::float8,
       extract(epoch from seen)::float8, extract(epoch from resolved)::float8
from alert
where id < %(before_id)s and (resolved is null or not %(open)s)
order by id desc
limit %(limit)s;
