-- Numbers of units set by hand: append-only, the newest row of a service counts until it ends.
create table pin (
    id          int4 generated always as identity primary key,
    service_id  int4 not null references service (id),
    made        timestamptz not null,
    until       timestamptz not null,
    units       int4,                        -- null takes the pin away
    why         text not null
);
create index pin_newest on pin (service_id, id);
