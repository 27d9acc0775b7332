-- Whole days of demand summed over the slots of a season, so that a retrain reads minutes of the newest only.
-- A copy: a day is forgotten with the first change of it, and summed again when it is asked for.
create table demand_day (
    service_id  int4 not null references service (id),
    slot_s      int4 not null,
    weighed     bool not null,         -- with the sums of tokens
    start       timestamptz not null,  -- midnight UTC
    sums        bytea not null,        -- little-endian uint32[slots]; weighed: float64[5, slots] behind it
    primary key (service_id, slot_s, weighed, start)
);
-- Counts fit into the row, and noise does not compress.
alter table demand_day alter column sums set storage external;
