-- Units of two pools: what each does for its service, and what it costs.
alter table unit_event add column pool text not null default '';     -- prefill, decode; empty: everything
alter table tariff add column pool text not null default '';
alter table tariff drop constraint tariff_pkey;
alter table tariff add primary key (service_id, pool, since);
