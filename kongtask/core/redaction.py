"""Making what an exception says fit to leave the process: bounded, storable and without secrets.

It refuses to guess what else may be private: a task's author decides what goes into a message.
"""

from __future__ import annotations

import re
import traceback
from urllib.parse import parse_qs, unquote, urlsplit

TEXT_LIMIT = 8192
"""Bytes of a message or a traceback that are shown."""

NAME_LIMIT = 512
FRAMES = 32

_SECRETS = re.compile(
    r"""(://[^\s/:@]*:)[^\s/]*(?=@)"""
    r"""|((?:password|passwd|pwd)["']?\s*[=:]\s*)(?:'[^']*'|"[^"]*"|[^\s&,;'"]+)""",
    re.IGNORECASE,
)


class Redaction:
    """Shortens texts, and hides passwords: those of one connection string wherever they stand.

    >>> Redaction("postgres://me:hunter2@db/shop").text("login as me:hunter2 failed")
    'login as me:*** failed'
    >>> Redaction().text("cannot open postgres://me:hunter2@db/shop")
    'cannot open postgres://me:***@db/shop'
    """

    def __init__(self, dsn: str = "") -> None:
        words = sorted(_secrets(dsn), key=len, reverse=True)
        found = "|".join(re.escape(word) for word in words)
        self._known = re.compile(rf"(?<![A-Za-z0-9])(?:{found})(?![A-Za-z0-9])") if found else None

    def text(self, text: str) -> str:
        """Return the text as it may be shown."""
        # Cut before it is searched, so that a text of megabytes costs no more than some pages.
        text = shortened(text, 8 * TEXT_LIMIT)
        if self._known is not None:
            text = self._known.sub("***", text)
        return shortened(without_passwords(text), TEXT_LIMIT)

    def message(self, error: BaseException) -> str:
        """Return what the exception says, else its class."""
        try:
            text = str(error)
        except Exception:
            text = ""
        return self.text(text or class_name(error))

    def traceback(self, error: BaseException) -> str:
        """Return the exception's traceback, its innermost frames."""
        frames = traceback.format_exception(type(error), error, error.__traceback__, limit=-FRAMES)
        return self.text("".join(frames))


def without_passwords(text: str) -> str:
    """Return the text with passwords of URLs and settings hidden.

    >>> without_passwords("postgres://me:hunter2@db/shop password=x")
    'postgres://me:***@db/shop password=***'
    """
    return _SECRETS.sub(lambda found: f"{found[1] or found[2]}***", text)


def class_name(error: BaseException) -> str:
    """Return the name of the exception's class, with its module unless it is built in.

    >>> import json
    >>> class_name(KeyError()), class_name(json.JSONDecodeError("", "", 0))
    ('KeyError', 'json.decoder.JSONDecodeError')
    """
    kind = type(error)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return shortened(f"{module}{kind.__qualname__}")


def shortened(text: str, limit: int = NAME_LIMIT) -> str:
    """Return the text as UTF-8 of at most so many bytes, without its middle when it has more.

    >>> shortened("a" * 600, 25)
    'aaaaaaaaaa … aaaaaaaaaa'
    """
    if len(text) <= limit and text.isascii():
        return text
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= limit:
        return data.decode()
    half = (limit - 5) // 2
    return f"{data[:half].decode(errors='ignore')} … {data[-half:].decode(errors='ignore')}"


def _secrets(dsn: str) -> set[str]:
    try:
        parts = urlsplit(dsn)
        given = [parts.password or "", *parse_qs(parts.query).get("password", [])]
    except ValueError:
        given = [dsn]
    return {word for text in given for word in (text, unquote(text)) if word}
