-- Leadership.

-- name: try_lock
select pg_try_advisory_lock(7466, 1);

-- name: unlock
select pg_advisory_unlock(7466, 1);

-- name: lead
update leader set number = number + 1, holder = %(holder)s, beat = clock_timestamp() where id = 1
returning number;

-- A beat of a leader that was replaced meanwhile changes nothing.
-- name: beat
update leader set beat = clock_timestamp() where id = 1 and number = %(number)s
returning number;

-- name: who
select holder, extract(epoch from clock_timestamp() - beat)::float8 from leader where id = 1;

-- The session of a leader that is paused keeps the lock: it is ended once its beat is overdue.
-- name: end_late
select count(pg_terminate_backend(l.pid, 2000))
from pg_locks l, leader
where l.locktype = 'advisory' and l.classid = 7466 and l.objid = 1 and l.granted
  and l.database = (select oid from pg_database where datname = current_database())
  and l.pid <> pg_backend_pid()
  and leader.beat < clock_timestamp() - make_interval(secs => %(lease_s)s);

-- In the transaction of the order: a change of leaders waits for it, or it sees the change.
-- name: fence
select number from leader where id = 1 for share;
