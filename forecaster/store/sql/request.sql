-- Single requests.

-- name: add_days
select request_add_days(%(days)s::date[]);

-- name: copy_log
copy request (service_id, arrival, prompt_tokens, output_tokens) from stdin (format binary);

-- What a log tells of the answers: -1 for a time of which it has no column, NaN for one that a row lacks.
-- name: copy_answered
copy request (
    service_id, arrival, prompt_tokens, output_tokens, ttft_s, tpot_s, latency_s, status
) from stdin (format binary);

-- name: copy_tier
copy request (
    service_id, arrival, prompt_tokens, output_tokens, ttft_s, tpot_s, latency_s, status, unit_id
) from stdin (format binary);

-- Takes back the one row of an unterminated last line.
-- name: take_back
delete from request
where (tableoid, ctid) in (
    select tableoid, ctid from request
    where service_id = %(service_id)s and arrival = to_timestamp(%(arrival_s)s)
      and prompt_tokens = %(prompt_tokens)s and output_tokens = %(output_tokens)s and unit_id is null
    limit 1
);

-- Scans the partitions of the range only, by their block range index.
-- name: rows
copy (
    select arrival, prompt_tokens, output_tokens,
        case when status is null then -1 else coalesce(ttft_s, 'NaN') end,
        case when status is null then -1 else coalesce(tpot_s, 'NaN') end,
        case when status is null then -1 else coalesce(latency_s, 'NaN') end,
        coalesce(status, 0::int2)
    from request
    where service_id = %(service_id)s
      and arrival >= to_timestamp(%(from_s)s) and arrival < to_timestamp(%(to_s)s)
    order by arrival
) to stdout (format binary);

-- Token lengths of the newest days, every k-th row so that no more than "most" remain.
-- name: lengths
copy (
    select prompt_tokens, output_tokens
    from (
        select prompt_tokens, output_tokens, row_number() over () as at, count(*) over () as rows
        from request
        where service_id = %(service_id)s
          and arrival > (select last_arrival from service where id = %(service_id)s)
              - make_interval(secs => %(days)s * 86400)
    ) as newest
    where at %% greatest(ceil(rows::float8 / %(most)s)::int8, 1) = 0
) to stdout (format binary);

-- Rows with a unit were answered by our own tier; of others a log told what became of them.
-- name: served
copy (
    select arrival, coalesce(ttft_s, 'NaN'), coalesce(tpot_s, 'NaN'), coalesce(latency_s, 'NaN'), status,
        (unit_id is not null)::int4::int2
    from request
    where service_id = %(service_id)s
      and arrival >= to_timestamp(%(from_s)s) and arrival < to_timestamp(%(to_s)s)
      and status is not null
    order by arrival
) to stdout (format binary);

-- Of the requests whose log tells how long they took; the condition is that of their index.
-- name: logged
copy (
    select arrival, ttft_s, tpot_s, latency_s, status, 0::int2
    from request
    where service_id = %(service_id)s
      and arrival >= to_timestamp(%(from_s)s) and arrival < to_timestamp(%(to_s)s)
      and unit_id is null and (ttft_s >= 0 or tpot_s >= 0 or latency_s >= 0)
    order by arrival
) to stdout (format binary);

-- name: drop_days
select request_drop_days(%(keep_days)s);

-- name: tier_add
insert into tier_cursor (tier) values (%(tier)s) on conflict (tier) do nothing;

-- name: tier_lock
select request_seq, event_seq from tier_cursor where tier = %(tier)s for update;

-- name: tier_cursor
select request_seq, event_seq from tier_cursor where tier = %(tier)s;

-- name: tier_requests_read
update tier_cursor set request_seq = %(seq)s where tier = %(tier)s;

-- name: tier_events_read
update tier_cursor set event_seq = %(seq)s where tier = %(tier)s;
