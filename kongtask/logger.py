"""What KongTask says while it works: four methods that any logging library can stand behind.

It refuses to configure anything, and to import a logging library of others; where lines go is the
application's business.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

Meta: TypeAlias = Mapping[str, Any]

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}

_STRUCTLOGS_OWN = frozenset(
    {"self", "event", "exc_info", "stack_info", "level", "logger", "timestamp"}
)
"""Keys that structlog, or its usual processors, give a meaning of their own."""


class Logger(Protocol):
    """Receives what is to be logged: a sentence, and facts beside it.

    >>> class Printing:
    ...     def debug(self, message, meta=None): pass
    ...     def info(self, message, meta=None): print(message, dict(meta or {}))
    ...     warn = error = info
    >>> ScopedLogger(Printing(), {"job": 12}).info("sending", {"to": "ann"})
    sending {'job': 12, 'to': 'ann'}
    """

    def debug(self, message: str, meta: Meta | None = None) -> None:
        """Log what helps to find an error."""

    def info(self, message: str, meta: Meta | None = None) -> None:
        """Log what happened."""

    def warn(self, message: str, meta: Meta | None = None) -> None:
        """Log what somebody should look at."""

    def error(self, message: str, meta: Meta | None = None) -> None:
        """Log what went wrong."""


class StandardLogger:
    """Hands everything to Python's `logging`; the facts arrive as the record's `meta`.

    logger: default the one named kongtask.

    >>> logging.getLogger("kongtask").disabled = True
    >>> StandardLogger().info("sending", {"to": "ann"})
    >>> logging.getLogger("kongtask").disabled = False
    """

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._logger = logger or logging.getLogger("kongtask")

    def debug(self, message: str, meta: Meta | None = None) -> None:
        """Log at level DEBUG."""
        self._log(logging.DEBUG, message, meta)

    def info(self, message: str, meta: Meta | None = None) -> None:
        """Log at level INFO."""
        self._log(logging.INFO, message, meta)

    def warn(self, message: str, meta: Meta | None = None) -> None:
        """Log at level WARNING."""
        self._log(logging.WARNING, message, meta)

    def error(self, message: str, meta: Meta | None = None) -> None:
        """Log at level ERROR; an exception under `exception` brings its traceback."""
        self._log(logging.ERROR, message, meta)

    def is_on(self, level: str) -> bool:
        """Whether lines of a level, such as "info", go anywhere.

        level: debug, info, warn or error, as the methods are named.

        Raises ValueError for other levels.

        >>> StandardLogger(logging.getLogger("kongtask.example")).is_on("error")
        True
        """
        number = _LEVELS.get(level)
        if number is None:
            raise ValueError(f"level must be one of {', '.join(_LEVELS)}, got {level!r}")
        return self._logger.isEnabledFor(number)

    def _log(self, level: int, message: str, meta: Meta | None) -> None:
        if not self._logger.isEnabledFor(level):
            return
        found = dict(meta or {})
        exception = found.pop("exception", None)
        self._logger.log(level, "%s", message, exc_info=exception, extra={"meta": found})


class StructlogLogger:
    """Hands everything to a logger of structlog; the facts arrive as the event's own keys.

    logger: what `structlog.get_logger()` returns. An exception under `exception` is passed as
    `exc_info`. A fact whose name structlog uses itself, such as `event` or `level`, gets a line
    below after its name.

    >>> import structlog
    >>> render = structlog.processors.KeyValueRenderer(key_order=["event"])
    >>> logger = structlog.wrap_logger(structlog.PrintLogger(), processors=[render])
    >>> StructlogLogger(logger).info("sending", {"to": "ann", "event": 7})
    event='sending' to='ann' event_=7
    """

    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def debug(self, message: str, meta: Meta | None = None) -> None:
        """Log by structlog's `debug`."""
        self._logger.debug(message, **_keys(meta))

    def info(self, message: str, meta: Meta | None = None) -> None:
        """Log by structlog's `info`."""
        self._logger.info(message, **_keys(meta))

    def warn(self, message: str, meta: Meta | None = None) -> None:
        """Log by structlog's `warning`."""
        self._logger.warning(message, **_keys(meta))

    def error(self, message: str, meta: Meta | None = None) -> None:
        """Log by structlog's `error`; an exception under `exception` brings its traceback."""
        self._logger.error(message, **_keys(meta))


class ScopedLogger:
    """Adds the facts of a scope, such as a job, to everything that is logged.

    logger: receives the lines.
    scope: the facts; those of a line win over them.

    >>> class Printing:
    ...     def info(self, message, meta=None): print(message, meta)
    >>> ScopedLogger(Printing(), {"job": 12}).scope(part="a").info("sending")
    sending {'job': 12, 'part': 'a'}
    """

    def __init__(self, logger: Logger, scope: Meta) -> None:
        self._logger = logger
        self._scope = dict(scope)

    def scope(self, **more: Any) -> ScopedLogger:
        """Return a logger that adds further facts."""
        return ScopedLogger(self._logger, {**self._scope, **more})

    def debug(self, message: str, meta: Meta | None = None) -> None:
        """Log what helps to find an error."""
        self._logger.debug(message, self._with(meta))

    def info(self, message: str, meta: Meta | None = None) -> None:
        """Log what happened."""
        self._logger.info(message, self._with(meta))

    def warn(self, message: str, meta: Meta | None = None) -> None:
        """Log what somebody should look at."""
        self._logger.warn(message, self._with(meta))

    def error(self, message: str, meta: Meta | None = None) -> None:
        """Log what went wrong."""
        self._logger.error(message, self._with(meta))

    def _with(self, meta: Meta | None) -> Meta:
        return {**self._scope, **(meta or {})}


def _keys(meta: Meta | None) -> dict[str, Any]:
    found = dict(meta or {})
    exception = found.pop("exception", None)
    keys = {f"{key}_" if key in _STRUCTLOGS_OWN else str(key): found[key] for key in found}
    return keys if exception is None else {**keys, "exc_info": exception}
