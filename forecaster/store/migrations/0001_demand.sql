-- Requests and demand: what users send.

-- One model endpoint. The three figures are kept in the transaction that appends requests.
create table service (
    id            int4 generated always as identity primary key,
    name          text not null unique,
    first_arrival timestamptz,
    last_arrival  timestamptz,
    requests      int8 not null default 0
);

-- A request log, known by its content: the hash of its head finds candidates, the hash of the
-- consumed prefix decides. Advanced in the transaction that stores the rows: exactly once.
create table source (
    id            int4 generated always as identity primary key,
    service       text not null,             -- given by the operator; empty where the log names its own
    name          text not null,             -- where it was last read from, for people
    head_bytes    int4 not null,
    head_sha256   text not null,
    prefix_sha256 text not null,
    marks         bytea not null,            -- running hash at every boundary
    "offset"      int8 not null,             -- consumed bytes after decompression (rows when columnar)
    lines         int8 not null,
    accepted      int8 not null,
    rejected      int8 not null,
    tail          jsonb,                     -- row of an unterminated last line, to be taken back
    tail_offset   int8 not null,
    tail_lines    int8 not null,
    read_at       timestamptz not null default now()
);
create index source_head on source (head_sha256);

-- Single requests, one partition per day of arrival, dropped by age. Rows of imported logs have
-- only the first four columns; rows that our own tier answered have all.
create table request (
    service_id    int4 not null,
    arrival       timestamptz not null,
    prompt_tokens int4 not null,
    output_tokens int4 not null,
    ttft_s        float4,
    tpot_s        float4,
    latency_s     float4,
    status        int2,
    unit_id       text
) partition by range (arrival);

-- Logs arrive in time order, so a block range index is tiny and as good as a B-tree.
create index request_arrival on request using brin (arrival) with (pages_per_range = 32);

-- Make the partitions of these days. The lock lets one transaction at a time do so, and readers pass.
create function request_add_days(days date[]) returns void language plpgsql as $$
declare
    day date;
    part text;
begin
    if not exists (
        select from unnest(days) as d where to_regclass('request_' || to_char(d, 'YYYYMMDD')) is null
    ) then
        return;
    end if;
    lock table request in share update exclusive mode;
    foreach day in array days loop
        part := 'request_' || to_char(day, 'YYYYMMDD');
        if to_regclass(part) is null then
            execute format('create table %I (like request including defaults)', part);
            execute format(
                'alter table request attach partition %I for values from (%L) to (%L)',
                part, day::timestamp at time zone 'UTC', (day + 1)::timestamp at time zone 'UTC'
            );
        end if;
    end loop;
end
$$;

-- Days that have a partition.
create view request_day as
select to_date(right(child.relname, 8), 'YYYYMMDD') as day, child.relname as partition
from pg_inherits
join pg_class child on child.oid = inhrelid
where inhparent = 'request'::regclass;

-- Drop the partitions that are `keep_days` or more older than the newest one; return how many.
create function request_drop_days(keep_days int4) returns int4 language plpgsql as $$
declare
    part text;
    dropped int4 := 0;
begin
    for part in
        select partition from request_day
        where day <= (select max(day) from request_day) - keep_days
        order by day
    loop
        execute format('drop table %I', part);
        dropped := dropped + 1;
    end loop;
    return dropped;
end
$$;

-- Demand: additive sums per minute. Kept for ever: a year of one service is 130 MB at most.
create table demand_slot (
    service_id    int4 not null references service (id),
    start         timestamptz not null,
    arrivals      int8 not null,
    prompt_tokens int8 not null,
    output_tokens int8 not null,
    prompt_output float8 not null,
    prompt_sq     float8 not null,
    output_sq     float8 not null,
    counts_1s     bytea not null,            -- 60 little-endian uint16: arrivals in each second
    primary key (service_id, start)
);
-- Already dense where it is not zero; never move it out of line.
alter table demand_slot alter column counts_1s set storage main;
