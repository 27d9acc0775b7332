"""What one service's log says: the load so far and its mix, the champion that knows what comes next."""

from __future__ import annotations

import copy
import logging
import math
from dataclasses import replace

import numpy as np

from forecaster.config.settings import RetrainSettings
from forecaster.daemon.hindsight import Closed
from forecaster.demand import as_load, requests_of, work_by_hour
from forecaster.demand.known import filled, known_until, silent_slots
from forecaster.domain.demand import DemandSeries, FloatArray, TokenMix
from forecaster.domain.errors import DataError, ModelError
from forecaster.domain.forecast import QuantileForecast
from forecaster.domain.profile import Profile
from forecaster.domain.service import Service
from forecaster.seasonal.backtest import MIN_HISTORY_DAYS
from forecaster.seasonal.calibration import LEVELS
from forecaster.seasonal.champion import Calibrated
from forecaster.seasonal.cold import begin, prior_of
from forecaster.seasonal.live import LiveForecaster
from forecaster.seasonal.rehearsal import rehearsed
from forecaster.seasonal.training import last_days
from forecaster.store import Store
from forecaster.store.rows import WEEK_SHAPE, ModelRow

log = logging.getLogger(__name__)
DAY_S = 86_400.0
USUAL_S = 14 * DAY_S
"""How far back the usual rate of an hour is looked for when a slot is empty."""
ALIKE_MOST = 200
"""Other services whose weeks tell what a young one may do."""
WAIT_S = 900.0
"""How long counters may be behind before what they do not tell is silence."""
SEEN_MOST = 1.25
"""No plan is made for more than this many times the highest load seen: the guard is for that."""


class DemandFeed:
    """The demand of one service, kept up to date from the store.

    Parameters
    ----------
    profile : Profile or None
        Unit whose busy seconds the load is counted in; None counts requests.

    Attributes
    ----------
    live : LiveForecaster or None
        The champion at work, on the load in requests of mean size; None before `reload`.
    mean_work_s : float
        Busy seconds of such a request; 0 where no work is known.
    mix, dispersion
        Of the last day of requests.
    data_until_s : float
        End of the last slot whose demand was measured, epoch seconds.
    day_requests : float
        Requests of the last day, as the log holds them.
    rate_scale : float
        Times the load of the log that is asked about.
    asked : DemandSeries or None
        The history that the champion was fitted to, in requests.
    calendar : CalendarSpec
        The service's, with what operators judged.
    """

    def __init__(
        self, service: Service, profile: Profile | None, settings: RetrainSettings, store: Store
    ) -> None:
        self.service, self.profile, self.settings, self.store = service, profile, settings, store
        self.live: LiveForecaster | None = None
        self.row: ModelRow | None = None
        self.mean_work_s = 0.0
        self.mix = TokenMix(0, 0, 0, 0, 0)
        self.dispersion = 1.0
        self.data_until_s = 0.0
        self.day_requests = 0.0
        self.seen_rps = 0.0
        self.rate_scale = 1.0
        self.calendar = service.calendar
        self._hours_s = np.ones(24)
        self._history: DemandSeries | None = None
        self._silent_s = np.zeros(0)  # starts of slots of the last day of which nothing was known
        self.asked: DemandSeries | None = None
        self._counted_s = math.inf

    @property
    def unit_work_s(self) -> float:
        """Busy seconds of one request of the series; 1 where requests are all that is known."""
        return (self.mean_work_s or 1.0) * self.rate_scale

    @property
    def model_id(self) -> int:
        """Version of the champion; 0 before the first."""
        return self.row.model_id if self.row else 0

    def reload(self, until_s: float | None = None) -> None:
        """Take the live champion from the store and fit it to the whole history.

        A service that is too young for one begins with what is known of others.

        Parameters
        ----------
        until_s : float or None
            End of the last whole slot; None: of the log.

        Raises
        ------
        ModelError
            When there is no champion, and history enough for one.
        DataError
            For an unknown service.
        """
        row = self.store.live_model(self.service.name)
        if row is None:
            self.begin(
                last_days(self._series(None, until_s, self.settings.slot_s), MIN_HISTORY_DAYS)
            )
            return
        found = last_days(self._series(None, until_s, row.slot_s), self.settings.history_days)
        self._hours_s = work_by_hour(found) if found.work_s.size else np.ones(24)
        load, self.mean_work_s = as_load(found)
        self.asked = found
        self.calendar = replace(
            self.service.calendar, judged=self.store.learning.judgements(self.service.name)
        )
        calibrated = Calibrated.from_dict(row.calibration)
        # counts are divided by the share that the log keeps: another share is another unit of demand
        calibrated = calibrated.in_units(row.log_sample / self.service.log_sample)
        self.live = LiveForecaster(calibrated, load, self.calendar)
        self.row, self._history = row, load
        self._silent_s = silent_slots(last_days(load, 1.0))
        self.seen_rps = float(np.nanmax(load.arrivals, initial=0.0)) / load.slot_s
        self._learn(last_days(found, 1.0))

    def begin(self, seen: DemandSeries) -> None:
        """Forecast without a champion, from little demand or none.

        Raises
        ------
        ModelError
            Where there is history enough to train a champion.
        """
        name, day = self.service.name, round(DAY_S / seen.slot_s)
        if seen.arrivals.size >= MIN_HISTORY_DAYS * day:
            raise ModelError(f"service {name!r} has no champion", f"run `tidegate retrain {name}`")
        others = self.store.learning.live_models(name, seen.slot_s, ALIKE_MOST)
        shapes = [each.scores[WEEK_SHAPE] for each in others if WEEK_SHAPE in each.scores]
        prior = prior_of(shapes, self.service.day_shape)
        self._hours_s = work_by_hour(seen) if seen.work_s.size else np.ones(24)
        load, self.mean_work_s = as_load(seen)
        self.asked, self._history, self.row = seen, load, None
        self._silent_s = silent_slots(last_days(load, 1.0))
        self.live = begin(load, self.calendar, prior, self.service.log_sample)
        self.seen_rps = 0.0  # what it will have at most is not known either
        self._learn(last_days(seen, 1.0))

    def look(self) -> None:
        """Learn the mix of the history, champion or not.

        Raises
        ------
        DataError
            For an unknown service.
        """
        found = self._series(None, None, self.settings.slot_s)
        self._learn(last_days(found, 1.0))

    def advance(self, until_s: float) -> Closed:
        """Append the slots that closed up to `until_s`; a new champion is taken in first.

        What fills a silence of the last day later, as a log that is read on after an hour, is taken in, too.

        Returns
        -------
        Closed
            The slots that closed since the last call; none the first time.
        """
        before_s = self.live.end_s if self.live else math.inf
        until_s = self._counted(until_s)
        row = self.store.live_model(self.service.name)
        if self.live is None or row is None or row.model_id != self.model_id:
            self.reload(until_s)
            assert self._history is not None
            return since(self._history, before_s)
        live = self.live
        until_s = until_s // live.slot_s * live.slot_s
        if until_s <= live.end_s:
            return Closed(live.end_s, live.slot_s, np.zeros(0))
        series = self._recent(live, until_s)
        load, _ = as_load(series, self.mean_work_s)
        closed = since(load, live.end_s)
        if filled(load, self._silent_s):
            self.reload(until_s)
            return closed
        self._silent_s = silent_slots(load)
        live.advance(closed.load)
        highest = float(np.nanmax(closed.load, initial=0.0))
        self.seen_rps = max(self.seen_rps, highest / live.slot_s)
        self._learn(series)
        return closed

    def forecast(
        self,
        horizon_s: float,
        made_s: float,
        levels: tuple[float, ...] = LEVELS,
        nowcast_erl: float | None = None,
    ) -> QuantileForecast:
        """Quantiles of the load, and of the requests that bring it.

        Parameters
        ----------
        nowcast_erl : float or None
            Load of the slot under way, where it is known to be beyond what was foreseen.

        Raises
        ------
        ModelError
            Before `reload`.
        """
        if self.live is None:
            name = self.service.name
            raise ModelError(f"service {name!r} has no champion", f"run `tidegate retrain {name}`")
        live, work_s = self.live, self.unit_work_s
        highest_rps = self.seen_rps
        if nowcast_erl is not None:
            live = given(live, nowcast_erl / work_s * live.slot_s)
            highest_rps = max(highest_rps, nowcast_erl / work_s)
        slots = max(round(horizon_s / live.slot_s), 1)
        found = live.forecast(slots, levels, made_s)
        rates = found.arrival_rate_rps
        if nowcast_erl is not None:  # the slot under way is part of the plan
            now = np.full((1, rates.shape[1]), nowcast_erl / work_s)
            rates = np.concatenate([now, rates[:-1]])
            found = replace(found, start_s=found.start_s - found.slot_s)
        if highest_rps > 0:
            rates = np.minimum(rates, SEEN_MOST * highest_rps)
        if self.profile is None:
            return replace(found, arrival_rate_rps=rates)
        load = rates * work_s
        starts = found.start_s + found.slot_s * np.arange(slots, dtype=np.float64)
        requests = requests_of(load, starts, self._hours_s) if self.mean_work_s else load
        return replace(found, arrival_rate_rps=requests, offered_load_erl=load)

    def rehearse(self, lead_s: float) -> tuple[FloatArray, FloatArray]:
        """Load foreseen `lead_s` before each slot of the last days, and what came, erlangs.

        Returns
        -------
        foreseen_erl : float64[K, Q]
        happened_erl : float64[K]
        """
        assert self._history is not None
        assert self.live is not None
        ahead = int(lead_s // self._history.slot_s)
        work_s = self.unit_work_s
        foreseen, happened = rehearsed(self.live.calibrated, self._history, self.calendar, ahead)
        return foreseen * work_s, happened * work_s

    def _counted(self, until_s: float) -> float:
        """How far demand is known: a slot that counters have seen in part is waited for a while, then it is silence."""
        if not self.service.metered:
            return until_s
        counted_s = self.store.meters.counted_until_s(self.service.name)
        if counted_s is None:
            return until_s
        self._counted_s = counted_s
        return max(min(until_s, counted_s), until_s - WAIT_S)

    def _recent(self, live: LiveForecaster, until_s: float) -> DemandSeries:
        """The last day, or more of it where a slot is empty.

        Zero and silence are told apart beside the same hour of many days: a long outage is the
        usual rate of its own day.
        """
        try:
            series = self._series(max(live.end_s - DAY_S, live.start_s), until_s, live.slot_s)
            if series.arrivals.all():
                return series
        except DataError:
            log.debug("%s: no request for a day", self.service.name)
        return self._series(max(live.end_s - USUAL_S, live.start_s), until_s, live.slot_s)

    def _series(self, from_s: float | None, until_s: float | None, slot_s: float) -> DemandSeries:
        found = self.store.demand(
            self.service.name,
            from_s=None if from_s is None else from_s // slot_s * slot_s,
            to_s=None if until_s is None else until_s // slot_s * slot_s,
            slot_s=slot_s,
            log_sample=self.service.log_sample,
            profile=self.profile,
        )
        return known_until(found, self._counted_s)

    def _learn(self, series: DemandSeries) -> None:
        """What the newest piece says of mix, dispersion and silence; a silent one says nothing."""
        measured = np.flatnonzero(np.isfinite(series.arrivals))
        if not measured.size:
            return
        end_s = series.start_s + series.slot_s * float(measured[-1] + 1)
        self.data_until_s = max(self.data_until_s, end_s)
        last = last_days(series, 1.0).arrivals
        if np.nansum(last) > 0:
            self.mix, self.dispersion = series.mix, max(series.dispersion, 1.0)
            rate_rps = float(np.nanmean(last)) / series.slot_s
            self.day_requests = rate_rps * DAY_S * self.service.log_sample


def since(series: DemandSeries, from_s: float) -> Closed:
    """The slots of a series that begin at a moment or later."""
    end_s = series.start_s + series.slot_s * series.arrivals.size
    first = max(math.ceil((min(from_s, end_s) - series.start_s) / series.slot_s), 0)
    return Closed(series.start_s + first * series.slot_s, series.slot_s, series.arrivals[first:])


def given(live: LiveForecaster, arrivals: float) -> LiveForecaster:
    """The forecaster as it would be if the slot under way closed with these arrivals."""
    return copy.deepcopy(live).advance(np.array([arrivals]))
