"""What somebody who changes something says of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Word:
    """Why, and who says so.

    Attributes
    ----------
    by : str
        For people: the role of a token and the user that a client names; never a secret.
    """

    why: str = ""
    by: str = ""


NOTHING_SAID = Word()
