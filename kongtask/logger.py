"""What KongTask says while it works: four methods that any logging library can stand behind.

It refuses to configure anything; where lines go is the application's business.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

Meta: TypeAlias = Mapping[str, Any]


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
    """Hands everything to Python's `logging`; the facts arrive as the record's `meta`."""

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

    def _log(self, level: int, message: str, meta: Meta | None) -> None:
        found = dict(meta or {})
        exception = found.pop("exception", None)
        self._logger.log(level, "%s", message, exc_info=exception, extra={"meta": found})


class ScopedLogger:
    """Adds the facts of a scope, such as a job, to everything that is logged."""

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
