-- What the forecasting engine remembers: runs of training, what it foretold, what operators judged.

-- One `tidegate retrain`: an unfinished one is gone on with, batch by batch.
create table retrain_run (
    id          int4 generated always as identity primary key,
    began       timestamptz not null,        -- demand after this is not looked at
    asked       text not null,               -- digest of services and settings
    batches     int4[] not null default '{}',  -- numbers of those that are stored
    ended       timestamptz
);
create index retrain_run_open on retrain_run (asked) where ended is null;

-- A model knows demand in requests: what share of them the log kept when it was trained.
alter table model add column log_sample float8 not null default 1;

-- Every forecast that is to be verified: quantiles at a few leads, little-endian float32[leads, levels].
drop table forecast;
create table foretold (
    service_id  int4 not null references service (id),
    made        timestamptz not null,
    start       timestamptz not null,        -- of the slot at index 0
    slot_s      float8 not null,
    model_id    int4 references model (id),
    load        bool not null,               -- in busy units; else requests/s
    slots       int4[] not null,             -- indices of the slots ahead
    levels      float8[] not null,
    said        bytea not null,
    primary key (service_id, made)
);

-- What an operator said of a stretch of demand: append-only, the newest row counts.
create table judgement (
    id          int4 generated always as identity primary key,
    service_id  int4 not null references service (id),
    made        timestamptz not null,
    start       timestamptz not null,
    until       timestamptz not null,
    keep        bool not null,
    why         text not null
);
create index judgement_service on judgement (service_id, id);
