"""Training in a process of its own: the same verdict, the same refusals."""

import numpy as np
import pytest

from forecaster.daemon.trainer import BackgroundTrainer
from forecaster.domain.demand import DemandSeries, TokenMix
from forecaster.domain.errors import ModelError, TooLittleHistoryError
from forecaster.domain.service import CalendarSpec
from forecaster.seasonal.training import Lesson, train


def series(days: int) -> DemandSeries:
    t = np.arange(days * 48)
    y = np.random.default_rng(0).poisson(40 + 30 * np.sin(2 * np.pi * t / 48)).astype(float)
    return DemandSeries("s", 1_735_689_600.0, 1800.0, y, y, y, TokenMix.of(1, 1), 1.0)


def lesson(days: int) -> Lesson:
    return Lesson(series(days), CalendarSpec(), ("ridge",))


def test_the_verdict_is_that_of_train() -> None:
    found = BackgroundTrainer()(lesson(8)).verdict
    here = train(series(8), CalendarSpec(), ("ridge",))
    assert (found.champion, found.beats_naive) == (here.champion, here.beats_naive)
    assert found.score.wape == pytest.approx(here.score.wape, rel=1e-6)
    assert np.allclose(found.calibrated.quantiles, here.calibrated.quantiles)


def test_refusals_come_through() -> None:
    with pytest.raises(TooLittleHistoryError, match="72"):
        BackgroundTrainer()(lesson(1))


def test_a_stopped_trainer_trains_no_more() -> None:
    trainer = BackgroundTrainer()
    trainer.stop()
    with pytest.raises(ModelError, match="given up"):
        trainer(lesson(8))
