-- Alerts and the messages about them: what was said survives a restart, so it is not said again.
create table alert (
    id        int8 generated always as identity primary key,
    key       text not null,
    kind      text not null,
    service   text not null,
    said      text not null,
    urgent    bool not null,
    opened    timestamptz not null,
    seen      timestamptz not null,
    resolved  timestamptz                    -- null while it lasts
);
create unique index alert_open on alert (key) where resolved is null;

create table notice (
    id        int8 generated always as identity primary key,
    alert_id  int8 not null references alert (id),
    event     text not null,                 -- firing, resolved
    hook      text not null,                 -- a digest: the address is a secret
    due       timestamptz not null,
    tries     int4 not null default 0,
    sent      timestamptz,
    error     text not null default '',
    unique (alert_id, event, hook)
);
create index notice_due on notice (due) where sent is null;
