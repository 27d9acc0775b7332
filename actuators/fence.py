"""The fence of a tier: a leader that was paused past its time orders nothing."""

from __future__ import annotations

from forecaster.domain.errors import FencedError


class Fence:
    """Remembers the highest number of a leader that was seen.

    Examples
    --------
    >>> fence = Fence()
    >>> fence.check(3), fence.check(0), fence.check(3)
    (None, None, None)
    >>> fence.check(2)
    Traceback (most recent call last):
    forecaster.domain.errors.FencedError: leader 2 is late: leader 3 is in charge; its orders are not carried out
    """

    def __init__(self) -> None:
        self._highest = 0

    def check(self, fence: int) -> None:
        """Let a leader pass, or refuse it.

        Parameters
        ----------
        fence : int
            The leader's number, rising with every change; 0 for whoever leads nothing.

        Raises
        ------
        FencedError
            When a later one was here.
        """
        if 0 < fence < self._highest:
            raise FencedError(
                f"leader {fence} is late: leader {self._highest} is in charge",
                "its orders are not carried out",
            )
        self._highest = max(self._highest, fence)
