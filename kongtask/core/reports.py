"""What adding jobs and running them report to: these two tell nobody.

What makes spans of it is in `kongtask.spans`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kongtask.core.trace_context import ABSENT, TraceContext

if TYPE_CHECKING:
    from kongtask.core.attempt import Outcome


class Adding:
    """What adding jobs reports to; this one tells nobody. `context` is kept with the jobs."""

    __slots__ = ()
    context: TraceContext = ABSENT

    def added(self, ids: Sequence[int]) -> None:
        """Say which jobs there are now."""

    def __enter__(self) -> Adding:
        return self

    def __exit__(self, kind: object, error: BaseException | None, frames: object) -> None:
        return None


class Processing:
    """What an attempt reports to; this one tells nobody."""

    __slots__ = ()

    def finish(self, outcome: Outcome) -> None:
        """Say how the attempt ended; the first word counts."""

    def __enter__(self) -> Processing:
        return self

    def __exit__(self, kind: object, error: BaseException | None, frames: object) -> None:
        return None
