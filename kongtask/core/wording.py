"""Numbers and durations as people say them."""

from __future__ import annotations

from datetime import timedelta


def span(duration: timedelta) -> str:
    """Return a duration as people say it.

    >>> span(timedelta(seconds=5)), span(timedelta(minutes=90)), span(timedelta(days=3))
    ('5 s', '90 min', '3 days')
    """
    seconds = max(0, int(duration.total_seconds()))
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 7200:
        return f"{seconds // 60} min"
    return f"{seconds // 3600} h" if seconds < 172_800 else f"{seconds // 86_400} days"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun.

    >>> counted(1, "job"), counted(1200, "queue")
    ('1 job', '1,200 queues')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
