-- Samples that senders push (Prometheus remote write, OTLP metrics): the newest of each minute of each
-- series, kept for a day, so that late and repeated ones change nothing that they should not.
create table pushed_series (
    id         int8 generated always as identity primary key,
    service_id int4 not null references service (id),
    name       text not null,
    labels     jsonb not null,
    key        bytea not null,               -- hash of name and labels
    since      timestamptz not null,         -- its first sample
    running    float8 not null default 0,    -- of increments: their sum ...
    run_until  timestamptz,                  -- ... up to here
    unique (service_id, key)
);
create index pushed_series_name on pushed_series (service_id, name);

create table pushed_sample (
    series_id int8 not null references pushed_series (id),
    minute    timestamptz not null,          -- end of the minute
    at        timestamptz not null,
    value     float8 not null,               -- NaN: the series ended
    primary key (series_id, minute)
);
create index pushed_sample_minute on pushed_sample (minute);

-- What of a service's samples is to be counted. Senders lower `due`; the reader takes it over as `reading`
-- and raises that one when the minutes are stored: killed in between it reads them again.
create table pushed (
    service_id int4 primary key references service (id),
    since      timestamptz not null,         -- first minute with a sample
    pulled     timestamptz,                  -- what was read by a query before; samples count from there
    newest     timestamptz not null,
    due        timestamptz,
    reading    timestamptz
);

-- Spans that became requests: each once. Forgotten after a day; older ones are refused.
create table pushed_span (
    id      bytea primary key,               -- trace and span
    arrival timestamptz not null
);
create index pushed_span_arrival on pushed_span (arrival);
