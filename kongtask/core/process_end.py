"""What the end of a process means, in words."""

from __future__ import annotations

import signal


def how_it_ended(code: int) -> str:
    """Say what an exit code means.

    >>> how_it_ended(2), how_it_ended(-9)
    ('ended with exit code 2', 'was killed by SIGKILL')
    """
    if code >= 0:
        return f"ended with exit code {code}"
    return f"was killed by {signal.Signals(-code).name}"
