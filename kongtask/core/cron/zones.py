"""Time zones by their names: which there are, and which one was meant.

The names and their rules come from the machine or from the package tzdata. The zone of the machine
itself is refused: every scheduler must find the same moments.
"""

from __future__ import annotations

import difflib
import re
from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from kongtask.errors import shown

_OF_THIS_MACHINE = frozenset({"localtime", "posixrules", "Factory"})


class UnknownZone(Exception):
    """There is no time zone of that name."""


def zone_name(name: object) -> str:
    """Return the name if there is such a time zone; raises `UnknownZone`.

    >>> zone_name("Australia/Lord_Howe")
    'Australia/Lord_Howe'
    >>> zone_name("europe/berlin")
    Traceback (most recent call last):
    kongtask.core.cron.zones.UnknownZone: there is no time zone 'europe/berlin', did you mean \
Europe/Berlin?
    """
    if isinstance(name, str) and name not in _OF_THIS_MACHINE and _is_there(name):
        return name
    close = _close_names(name) if isinstance(name, str) else []
    hint = f", did you mean {' or '.join(close)}?" if close else ""
    raise UnknownZone(f"there is no time zone {shown(name)}{hint}")


def _is_there(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _close_names(name: str) -> list[str]:
    wanted, names = re.sub(r"[ +-]", "_", name[:80].lower()), _names()
    by_city = [full for low, full in names.items() if low.rpartition("/")[2] == wanted]
    close = difflib.get_close_matches(wanted, names, n=3, cutoff=0.75)
    return by_city[:3] or [names[each] for each in close][: 1 if wanted in close else 3]


@cache
def _names() -> dict[str, str]:
    return {name.lower(): name for name in sorted(available_timezones() - _OF_THIS_MACHINE)}
