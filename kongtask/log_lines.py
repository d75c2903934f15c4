"""How log lines look on a terminal and to a program. Only command lines use it."""

from __future__ import annotations

import json
import logging
import sys
from typing import Literal

from kongtask.core.redaction import without_passwords

LogFormat = Literal["text", "json"]


class TextLines(logging.Formatter):
    """One readable line for each record: time, level unless it is INFO, what happened."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a line, with its traceback below when it has one."""
        clock = self.formatTime(record, "%H:%M:%S")
        level = "" if record.levelno == logging.INFO else f"{record.levelname} "
        line = f"{clock} {level}{record.getMessage()}"
        if record.exc_info and record.exc_info[0] is not None:
            line += "\n" + without_passwords(self.formatException(record.exc_info))
        return line


class JsonLines(logging.Formatter):
    """One JSON object for each record: time, level, logger, message, and the facts beside it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON on one line."""
        facts = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "meta", {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            facts["traceback"] = without_passwords(self.formatException(record.exc_info))
        return json.dumps(facts, default=str)


def log_to_stderr(form: LogFormat, level: str) -> None:
    """Send all log records to standard error, from this level on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
