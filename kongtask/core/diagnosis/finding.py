"""What one check of the doctor says: that something is wrong, fine, or could not be seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["wrong", "fine", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was found.

    check: a stable name. what: one sentence. why, then: why it matters and what to do next; empty
    for what is fine.
    """

    check: str
    state: State
    what: str
    why: str = ""
    then: str = ""


def fine(check: str, what: str) -> Finding:
    """Return that all is well."""
    return Finding(check=check, state="fine", what=what)


def wrong(check: str, what: str, *, why: str, then: str) -> Finding:
    """Return that something is wrong."""
    return Finding(check=check, state="wrong", what=what, why=why, then=then)


def unknown(check: str, what: str, *, then: str) -> Finding:
    """Return that something could not be seen."""
    return Finding(
        check=check,
        state="unknown",
        what=what,
        why="what nobody looked at may be wrong",
        then=then,
    )


def listed(names: list[str], most: int = 8) -> str:
    """Return names as a list that is not too long.

    >>> listed(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
