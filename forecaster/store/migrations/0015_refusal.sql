-- What others had of the GPUs that services share: one row an hour in which something was refused.
create table refusal (
    service_id  int4 not null references service (id),
    start       timestamptz not null,        -- a whole hour
    unit_s      float8 not null,             -- unit-seconds that it would have held
    requests    float8 not null,             -- expected outside the SLO for want of them
    primary key (service_id, start)
);
