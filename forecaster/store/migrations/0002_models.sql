-- Trained models and the forecasts they made.

-- Versions are kept; rolling back is moving `live`.
create table model (
    id          int4 generated always as identity primary key,
    service_id  int4 not null references service (id),
    created     timestamptz not null,
    champion    text not null,
    slot_s      float8 not null,
    scores      jsonb not null,
    calibration jsonb not null,
    verdict     text not null,
    live        bool not null default false
);
create unique index model_live on model (service_id) where live;
create index model_service on model (service_id, id);

create table forecast (
    id          int8 generated always as identity primary key,
    service_id  int4 not null references service (id),
    model_id    int4 references model (id),
    model       text not null,
    made        timestamptz not null,
    start       timestamptz not null,
    slot_s      float8 not null,
    levels      float8[] not null,
    rates       bytea not null,              -- little-endian float32[slots, levels], requests/s
    loads       bytea not null               -- the same in busy units, NaN without a unit type
);
create index forecast_latest on forecast (service_id, made, id);
