"""Finding a recurring job by its identifier, or saying which ones there are."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence

from kongtask.core.cron.item import ParsedCronItem
from kongtask.errors import ConfigurationError, shown

_MOST = 8


def item_named(items: Sequence[ParsedCronItem], identifier: str, place: str) -> ParsedCronItem:
    """Return the item with this identifier; raises `ConfigurationError` that names close ones.

    >>> from kongtask import parse_crontab
    >>> item_named(parse_crontab("@daily report"), "reprot", "the crontab")
    Traceback (most recent call last):
    kongtask.errors.ConfigurationError: no recurring job 'reprot' in the crontab: did you mean \
report?
    """
    for item in items:
        if item.identifier == identifier:
            return item
    raise unknown_identifier(identifier, [item.identifier for item in items], place)


def unknown_identifier(
    identifier: object, known: Collection[str], place: str
) -> ConfigurationError:
    """Return the error that says which identifiers there are in place of this one."""
    close = difflib.get_close_matches(identifier, known) if isinstance(identifier, str) else []
    if close:
        hint = f"did you mean {' or '.join(close)}?"
    elif known:
        more = ", …" if len(known) > _MOST else ""
        hint = f"there are {', '.join(sorted(known)[:_MOST])}{more}"
    else:
        hint = "there are none"
    return ConfigurationError(f"no recurring job {shown(identifier)} in {place}: {hint}")
