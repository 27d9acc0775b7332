-- What members said of the days to come, a row a day: a retrain goes on from it instead of a backtest.
create table fold (
    service_id  int4 not null references service (id),
    member      text not null,
    start       timestamptz not null,  -- of the first slot that it speaks of
    asked       text not null,         -- digest of what it depends on: grid, unit, calendar, version
    scale       float8 not null,       -- of the numbers: said = scale * expm1(number)
    said        bytea not null,        -- little-endian float16[slots of three days]
    error       bytea not null,        -- little-endian float32[seasons]: missed on the day before
    primary key (service_id, member, start)
);
