"""Reading the crontab file that a command line names."""

from __future__ import annotations

from pathlib import Path

from kongtask.core.cron.crontab import CrontabError, parse_crontab
from kongtask.core.cron.item import ParsedCronItem
from kongtask.errors import ConfigurationError


def read_crontab(path: Path) -> tuple[ParsedCronItem, ...]:
    """Return the file's items; raises `ConfigurationError` that names the file."""
    try:
        return parse_crontab(path.read_text(encoding="utf-8"))
    except CrontabError as error:
        error.args = (f"{path}: {error}",)
        raise
    except OSError as error:
        raise ConfigurationError(
            f"crontab {path} cannot be read ({error.strerror}): correct the path"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"crontab {path} is not UTF-8 text: save it as UTF-8") from error
