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

-- The same summed over longer slots, without the counts per second: all that training needs.
-- name: binned
copy (
    select date_bin(make_interval(secs => %(slot_s)s), start, 'epoch') as bin, sum(arrivals)::int8,
           sum(prompt_tokens)::int8, sum(output_tokens)::int8, sum(prompt_output), sum(prompt_sq),
           sum(output_sq)
    from demand_slot
    where service_id = %(service_id)s
      and start >= to_timestamp(%(from_s)s) and start < to_timestamp(%(to_s)s)
    group by bin
    order by bin
) to stdout (format binary);

-- Which slots of a range are there: most batches meet only one, where the last batch ended.
-- name: starts
copy (
    select start
    from demand_slot
    where service_id = %(service_id)s
      and start >= to_timestamp(%(from_s)s) and start < to_timestamp(%(to_s)s)
) to stdout (format binary);

-- Takes the slots that a batch touches out of the table; they come back merged.
-- name: take
delete from demand_slot
where service_id = %(service_id)s
  and start = any (select to_timestamp(s) from unnest(%(starts)s::float8[]) as s)
returning
    extract(epoch from start)::int8, arrivals, prompt_tokens, output_tokens,
    prompt_output, prompt_sq, output_sq, counts_1s;

-- name: put
copy demand_slot (
    service_id, start, arrivals, prompt_tokens, output_tokens,
    prompt_output, prompt_sq, output_sq, counts_1s
) from stdin (format binary);
