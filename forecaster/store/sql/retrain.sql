-- Runs of training.

-- name: open
select id, extract(epoch from began)::float8, batches
from retrain_run
where asked = %(asked)s and ended is null and began > to_timestamp(%(not_before_s)s)
order by id desc
limit 1;

-- name: begin
insert into retrain_run (began, asked) values (to_timestamp(%(began_s)s), %(asked)s) returning id;

-- Only one process stores a batch.
-- name: batch
update retrain_run set batches = array_append(batches, %(batch)s)
where id = %(run_id)s and not %(batch)s = any (batches);

-- name: end
update retrain_run set ended = to_timestamp(%(ended_s)s) where id = %(run_id)s;

-- name: forget
delete from retrain_run where began < to_timestamp(%(before_s)s);
