-- Demand per minute.

-- Fixed-width fields without NULL: read as one numpy array.
-- name: read
copy (
    select start, arrivals, prompt_tokens, output_tokens, prompt_output, prompt_sq, output_sq, counts_1s
    from demand_slot
    where service_id = %(service_id)s
      and start >= to_timestamp(%(from_s)s) and start < to_timestamp(%(to_s)s)
    order by start
) to stdout (format binary);

-- The same of several services, summed over longer slots and without the counts per second; a row a
-- service, its columns as big-endian int8 and float8 in a row.
-- name: binned
select q.service_id, y.*
from unnest(%(service_ids)s::int4[], %(from_s)s::float8[]) as q (service_id, from_s)
cross join lateral (
    select string_agg(timestamptz_send(x.bin), ''), string_agg(int8send(x.arrivals), ''),
           string_agg(int8send(x.prompt_tokens), ''), string_agg(int8send(x.output_tokens), ''),
           string_agg(float8send(x.prompt_output), ''), string_agg(float8send(x.prompt_sq), ''),
           string_agg(float8send(x.output_sq), '')
    from (
        select date_bin(make_interval(secs => %(slot_s)s), start, 'epoch') as bin,
               sum(arrivals)::int8 as arrivals, sum(prompt_tokens)::int8 as prompt_tokens,
               sum(output_tokens)::int8 as output_tokens, sum(prompt_output) as prompt_output,
               sum(prompt_sq) as prompt_sq, sum(output_sq) as output_sq
        from demand_slot
        where service_id = q.service_id
          and start >= to_timestamp(q.from_s) and start < to_timestamp(%(to_s)s)
        group by bin
        order by bin
    ) as x
) as y;

-- Only how many requests: all that training needs where they are not weighed.
-- name: counted
select q.service_id, y.*
from unnest(%(service_ids)s::int4[], %(from_s)s::float8[]) as q (service_id, from_s)
cross join lateral (
    select string_agg(timestamptz_send(x.bin), ''), string_agg(int8send(x.arrivals), '')
    from (
        select date_bin(make_interval(secs => %(slot_s)s), start, 'epoch') as bin,
               sum(arrivals)::int8 as arrivals
        from demand_slot
        where service_id = q.service_id
          and start >= to_timestamp(q.from_s) and start < to_timestamp(%(to_s)s)
        group by bin
        order by bin
    ) as x
) as y;

-- The minutes of two slots of each service, where its log begins and where it ends.
-- name: edges
select d.service_id, extract(epoch from d.start)::int8, d.arrivals, d.prompt_tokens, d.output_tokens,
       d.prompt_output, d.prompt_sq, d.output_sq, d.counts_1s
from unnest(%(service_ids)s::int4[], %(start_s)s::float8[]) as q (service_id, start_s)
join demand_slot d on d.service_id = q.service_id and d.start >= to_timestamp(q.start_s)
    and d.start < to_timestamp(least(q.start_s + %(slot_s)s, %(to_s)s))
order by d.service_id, d.start;

-- Which slots of a range are there: most batches meet only one, where the last batch ended.
-- name: starts
copy (
    select d.service_id, d.start
    from unnest(%(service_ids)s::int4[], %(from_s)s::float8[], %(to_s)s::float8[]) as q (service_id, from_s, to_s)
    join demand_slot d on d.service_id = q.service_id
        and d.start >= to_timestamp(q.from_s) and d.start < to_timestamp(q.to_s)
) to stdout (format binary);

-- Takes the slots that a batch touches out of the table; they come back merged.
-- name: take
delete from demand_slot d
using unnest(%(service_ids)s::int4[], %(starts)s::float8[]) as q (service_id, start_s)
where d.service_id = q.service_id and d.start = to_timestamp(q.start_s)
returning
    d.service_id, extract(epoch from start)::int8, arrivals, prompt_tokens, output_tokens,
    prompt_output, prompt_sq, output_sq, counts_1s;

-- name: put
copy demand_slot (
    service_id, start, arrivals, prompt_tokens, output_tokens,
    prompt_output, prompt_sq, output_sq, counts_1s
) from stdin (format binary);
