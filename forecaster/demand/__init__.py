"""Demand: requests → sums per slot → a regular series. Pure numpy over frozen values."""

from forecaster.demand.binning import between, bin_requests, empty_sums, merge, merge_all, subtract
from forecaster.demand.dispersion import dispersion, dispersions
from forecaster.demand.load import as_load, requests_of, work_by_hour
from forecaster.demand.mix import token_mix
from forecaster.demand.series import last_arrival_s, to_series
from forecaster.demand.work import offered_work_s, request_work_s, slot_work_s

__all__ = [
    "as_load",
    "between",
    "bin_requests",
    "dispersion",
    "dispersions",
    "empty_sums",
    "last_arrival_s",
    "merge",
    "merge_all",
    "offered_work_s",
    "request_work_s",
    "requests_of",
    "slot_work_s",
    "subtract",
    "to_series",
    "token_mix",
    "work_by_hour",
]
