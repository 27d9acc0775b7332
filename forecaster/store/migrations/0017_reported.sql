-- What model servers report of their own answers, by the minute.
create table reported (
    service_id  int4 not null references service (id),
    start       timestamptz not null,        -- a whole minute
    requests    float8 not null,             -- that ended in it
    outside     float8 not null,             -- of those, outside the SLO that was in force then
    primary key (service_id, start)
);
