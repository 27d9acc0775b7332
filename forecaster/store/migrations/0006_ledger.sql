-- The ledger: lives of units, what they cost, and the books by the quarter of an hour.

-- One row a unit, kept with its events: which units lived in a range is one look at an index.
create table unit_life (
    tier        text not null,
    unit_id     text not null,
    service_id  int4 not null references service (id),
    born        timestamptz not null,
    ended       timestamptz,                 -- null while it lives
    primary key (tier, unit_id)
);
create index unit_life_ended on unit_life (service_id, ended);
create index unit_event_unit on unit_event (tier, unit_id);

insert into unit_life (tier, unit_id, service_id, born, ended)
select tier, unit_id, min(service_id), min(at - make_interval(secs => seconds)),
       max(at) filter (where after in ('gone', 'failed'))
from unit_event
group by tier, unit_id;

-- What a unit of a service costs: units ordered from `since` on.
create table tariff (
    service_id     int4 not null references service (id),
    since          timestamptz not null,
    unit           text not null,
    price_per_hour float8 not null,
    min_billing_s  float8 not null,
    billing_step_s float8 not null,
    primary key (service_id, since)
);

-- Kept for ever: single requests are dropped by age, these sums are what is left of them.
create table book (
    service_id  int4 not null references service (id),
    start       timestamptz not null,        -- a quarter of an hour
    requests    int8 not null,
    outside     int8 not null,
    refused     int8 not null,
    arrivals    float8 not null,
    held        jsonb not null,              -- policy: [ready_s, warming_s, outside]
    primary key (service_id, start)
);

-- What Tidegate would hold if its orders were carried out: one row a change.
create table shadow (
    service_id  int4 not null references service (id),
    at          timestamptz not null,
    units       int4 not null,
    primary key (service_id, at)
);
