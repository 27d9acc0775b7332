-- What was decided, and what the tier reported.

-- Append-only. `json` and not `jsonb`: the text comes back byte for byte, so a replay can be compared.
create table decision (
    id          int8 generated always as identity primary key,
    service_id  int4 not null references service (id),
    at          timestamptz not null,
    inputs      json not null,
    output      json not null,
    ordered     bool not null
);
create index decision_at on decision (service_id, at, id);

-- One edge of one unit's life, numbered by the tier: the ledger is the sum of these.
create table unit_event (
    tier        text not null,
    seq         int8 not null,
    unit_id     text not null,
    service_id  int4 not null references service (id),
    at          timestamptz not null,
    before      text not null,
    after       text not null,
    seconds     float8 not null,
    reason      text not null,
    provider    text not null,
    primary key (tier, seq)
);
create index unit_event_at on unit_event (service_id, at);

-- How far each tier's two numberings were read.
create table tier_cursor (
    tier        text primary key,
    request_seq int8 not null default 0,
    event_seq   int8 not null default 0
);
