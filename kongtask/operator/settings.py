"""What the operator's environment may say, read once by `main`.

Nothing below asks the environment again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kongtask.errors import ConfigurationError

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorSettings:
    """What the operator's environment says.

    namespaces: which to watch; none means all of them. port: of /livez, /readyz and /metrics.
    """

    namespaces: tuple[str, ...] = ()
    log_level: str = "INFO"
    port: int = 8080


def read_settings(environment: Mapping[str, str]) -> OperatorSettings:
    """Return the settings in an environment; raises `ConfigurationError`.

    >>> read_settings({"KONGTASK_WATCH_NAMESPACES": "shop, mail"}).namespaces
    ('shop', 'mail')
    """
    names = environment.get("KONGTASK_WATCH_NAMESPACES", "").split(",")
    level = environment.get("KONGTASK_LOG_LEVEL", "INFO").upper()
    port = environment.get("KONGTASK_OPERATOR_PORT", "8080")
    if level not in LEVELS:
        raise ConfigurationError(f"KONGTASK_LOG_LEVEL is {level}: write one of {', '.join(LEVELS)}")
    if not port.isdigit() or int(port) > 65535:
        raise ConfigurationError(f"KONGTASK_OPERATOR_PORT is {port}: write a number up to 65535")
    found = tuple(name.strip() for name in names if name.strip())
    return OperatorSettings(namespaces=found, log_level=level, port=int(port))
