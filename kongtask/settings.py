"""What the environment and the command line say, merged once into one value.

Pure: both come in as mappings. A flag wins over the environment, and that over the default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from kongtask.errors import ConfigurationError

DEFAULT_SCHEMA = "graphile_worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSettings:
    """Which tables to work on.

    url: connection string. schema: Postgres schema of the job tables.
    """

    url: str
    schema: str = DEFAULT_SCHEMA


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """How one worker process works.

    concurrency: jobs at the same time. tasks: modules, files or folders that hold tasks.
    name: how the process is called in locks and logs. drain_timeout: how long running jobs may
    take after a stop; None is as long as they need. health_port: where /livez, /readyz and
    /metrics are served, None for nowhere. poll_interval: how often to look without being told.
    job_timeout: how long a run may take at most, None for as long as it needs. listen: whether to
    be told of new jobs. drain_action: what becomes of jobs that are cut off. recovery_timeout:
    within which others free the jobs of this process when it died. attempts_count: whether the
    attempts count that died with it. processes: how many such processes one command starts.
    uvloop: whether to run on uvloop where it is installed. start_timeout: how long to wait at the
    start for a database that does not answer.
    """

    database: DatabaseSettings
    concurrency: int = 1
    tasks: tuple[str, ...] = ()
    name: str = ""
    drain_timeout: timedelta | None = None
    health_port: int | None = None
    poll_interval: timedelta = timedelta(seconds=2)
    job_timeout: timedelta | None = None
    listen: bool = True
    drain_action: Literal["release", "fail"] = "release"
    recovery_timeout: timedelta = timedelta(seconds=10)
    attempts_count: bool = True
    crontab: Path | None = None
    once: bool = False
    migrate: bool = True
    processes: int = 1
    uvloop: bool = True
    start_timeout: timedelta = timedelta(seconds=30)


def database_settings(environment: Mapping[str, str], flags: Mapping[str, Any]) -> DatabaseSettings:
    """Return which database to use; raises `ConfigurationError` when nothing names one.

    >>> database_settings({"DATABASE_URL": "postgres://db/shop"}, {}).schema
    'graphile_worker'
    """
    url = flags.get("connection") or environment.get("DATABASE_URL") or ""
    if not url:
        raise ConfigurationError(
            "no database: give -c postgres://USER:PASSWORD@HOST:PORT/DATABASE or set DATABASE_URL"
        )
    schema = flags.get("schema") or _first(
        environment, "KONGTASK_SCHEMA", "GRAPHILE_WORKER_SCHEMA", default=DEFAULT_SCHEMA
    )
    return DatabaseSettings(url=url, schema=schema)


def worker_settings(environment: Mapping[str, str], flags: Mapping[str, Any]) -> WorkerSettings:
    """Return how a worker process is to work; raises `ConfigurationError`.

    >>> given = {"DATABASE_URL": "postgres://db/shop", "KONGTASK_CONCURRENCY": "many"}
    >>> worker_settings(given, {})
    Traceback (most recent call last):
    kongtask.errors.ConfigurationError: KONGTASK_CONCURRENCY is 'many': write a whole number from \
1 to 10000
    """
    read = _Reader(environment, flags)
    tasks = flags.get("tasks") or _listed(environment.get("KONGTASK_TASKS", ""))
    drain = read.number("drain_timeout", "KONGTASK_DRAIN_TIMEOUT", 0, 7 * 86_400, None)
    limit = read.number("job_timeout", "KONGTASK_JOB_TIMEOUT", 1, 7 * 86_400, None)
    return WorkerSettings(
        database=database_settings(environment, flags),
        concurrency=read.number("jobs", "KONGTASK_CONCURRENCY", 1, 10_000, 1) or 1,
        tasks=tuple(tasks),
        name=environment.get("KONGTASK_WORKER_NAME", ""),
        drain_timeout=None if drain is None else timedelta(seconds=drain),
        health_port=read.number("health_port", "KONGTASK_HEALTH_PORT", 0, 65_535, None),
        poll_interval=timedelta(
            milliseconds=read.number("poll_interval", "KONGTASK_POLL_INTERVAL", 1, 3_600_000, 2000)
            or 2000
        ),
        job_timeout=None if limit is None else timedelta(seconds=limit),
        listen=read.switch("listen", "KONGTASK_LISTEN"),
        drain_action=flags.get("drain_action") or "release",
        recovery_timeout=timedelta(
            seconds=read.number("recovery_timeout", "KONGTASK_RECOVERY_TIMEOUT", 1, 86_400, 10)
            or 10
        ),
        attempts_count=read.switch("attempts_count", "KONGTASK_ATTEMPTS_COUNT"),
        crontab=flags.get("crontab"),
        once=bool(flags.get("once")),
        migrate=flags.get("migrate", True),
        processes=read.number("processes", "KONGTASK_PROCESSES", 1, 64, 1) or 1,
        uvloop=read.switch("uvloop", "KONGTASK_UVLOOP"),
        start_timeout=timedelta(
            seconds=read.number("start_timeout", "KONGTASK_START_TIMEOUT", 0, 7 * 86_400, 30) or 0
        ),
    )


class _Reader:
    def __init__(self, environment: Mapping[str, str], flags: Mapping[str, Any]) -> None:
        self._environment = environment
        self._flags = flags

    def number(
        self, flag: str, variable: str, low: int, high: int, default: int | None
    ) -> int | None:
        """Return a number from a flag, else from a variable, else the default."""
        given = self._flags.get(flag)
        name, text = (f"--{flag.replace('_', '-')}", str(given))
        if given is None:
            name, text = variable, self._environment.get(variable, "")
        if not text:
            return default
        if not text.isascii() or not text.isdigit() or not low <= int(text[:10]) <= high:
            wanted = "0 or 1" if (low, high) == (0, 1) else f"a whole number from {low} to {high}"
            raise ConfigurationError(f"{name} is {text[:40]!r}: write {wanted}")
        return int(text)

    def switch(self, flag: str, variable: str) -> bool:
        """Return what a flag says, else a variable that is 0 or 1, else True."""
        given = self._flags.get(flag)
        return self.number(flag, variable, 0, 1, 1) != 0 if given is None else bool(given)


def _first(environment: Mapping[str, str], *names: str, default: str) -> str:
    return next((environment[name] for name in names if environment.get(name)), default)


def _listed(text: str) -> list[str]:
    return [each.strip() for each in text.split(",") if each.strip()]
