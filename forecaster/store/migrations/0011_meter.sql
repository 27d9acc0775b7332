-- Demand that was counted elsewhere (Prometheus): by whom, and which span of the slots was read.
alter table service
    add column meter       text,
    add column meter_since timestamptz,
    add column meter_until timestamptz;
