-- Requests of others whose log tells how long they took: found by service, however many services share a log.
create index request_logged on request (service_id, arrival)
where unit_id is null and (ttft_s >= 0 or tpot_s >= 0 or latency_s >= 0);
