"""Errors, split by who acts next. Each renders as one line: what, the value, the remedy."""

from __future__ import annotations


class TidegateError(Exception):
    """Root of every error that Tidegate raises on purpose.

    Parameters
    ----------
    problem : str
        One sentence: what is wrong, with the offending key and value.
    remedy : str
        One clause: what the reader can do about it.
    """

    def __init__(self, problem: str, remedy: str = "") -> None:
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{problem}; {remedy}" if remedy else problem)

    def __reduce__(self) -> tuple[object, ...]:
        """Travel between processes whole, whatever the constructor asks for."""
        return _rebuilt, (type(self), self.args, self.__dict__)


def _rebuilt(
    kind: type[TidegateError], args: tuple[object, ...], state: dict[str, object]
) -> TidegateError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class SettingError(TidegateError):
    """The operator set something out of range: key, value, range and remedy."""

    def __init__(self, key: str, value: object, allowed: str, remedy: str = "") -> None:
        self.key = key
        self.value = value
        self.allowed = allowed
        super().__init__(f"{key} = {value!r} is refused: {allowed}", remedy)


class DataError(TidegateError):
    """The data cannot answer the question: unknown service, too little history, an unreadable file."""


class TooLittleHistoryError(DataError):
    """A service has less history than the question needs."""

    def __init__(self, service: str, have_s: float, need_s: float) -> None:
        self.service = service
        self.have_s = have_s
        self.need_s = need_s
        super().__init__(
            f"service {service!r} has {have_s / 3600:.1f} h of history, {need_s / 3600:.1f} h are needed",
            "ingest more of its request log",
        )


class ModelError(TidegateError):
    """A model or its mathematics cannot do what is asked: file unreadable, SLO infeasible, no champion."""


class PendingError(ModelError):
    """What is asked for is being made: nothing is wrong, ask again."""


class SloInfeasibleError(ModelError):
    """No number of units can keep this SLO: one request alone already exceeds it.

    Parameters
    ----------
    part : str
        The part that cannot be met, for example ``ttft_p99_s``.
    target_s, best_s : float
        The target and the best that one idle unit reaches, in seconds.
    """

    def __init__(self, part: str, target_s: float, best_s: float) -> None:
        self.part = part
        self.target_s = target_s
        self.best_s = best_s
        super().__init__(
            f"{part} = {target_s:g} s is infeasible: one request alone on an idle unit needs {best_s:.4g} s",
            f"set {part} above {best_s:.4g} s or use a faster unit",
        )


class StoreError(TidegateError):
    """The database said no, for a reason that a retry does not mend."""


class StoreUnavailableError(StoreError):
    """The database cannot be reached now: hold the last plan and retry."""


class ActuatorError(TidegateError):
    """A serving tier could not do what was ordered."""


class UnitGoneError(ActuatorError):
    """The unit no longer exists: the order to remove it is done."""


class CapacityDeniedError(ActuatorError):
    """The tier has no room for another unit: it is not supply, try another type or tell the operator."""


class ActuatorUnavailableError(ActuatorError):
    """The tier cannot be reached now: hold and retry."""


class FencedError(ActuatorError):
    """Another daemon leads by now: what was decided here is not carried out."""


class LifecycleError(ActuatorError):
    """A unit was moved along an edge that its life cycle does not have."""


class BusyError(TidegateError):
    """Something that runs once at a time runs now: ask again in `retry_s` seconds."""

    def __init__(self, problem: str, retry_s: float) -> None:
        self.retry_s = retry_s
        super().__init__(problem, f"ask again in {retry_s:g} s")
