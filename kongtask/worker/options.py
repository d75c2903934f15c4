"""How a pool of workers is to work. Every default is documented where it stands."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from kongtask.clock import Clock
from kongtask.core.attempt import DrainAction
from kongtask.core.task_spec import is_text
from kongtask.errors import ConfigurationError, shown
from kongtask.logger import Logger, StandardLogger
from kongtask.postgres.statements import DEFAULT_SCHEMA, quote_schema
from kongtask.worker.event_bus import EventBus

if TYPE_CHECKING:
    from kongtask.core.cron.item import ParsedCronItem

ForbiddenFlags = Callable[[], Sequence[str] | Awaitable[Sequence[str] | None] | None]

MAX_CONCURRENCY = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPoolOptions:
    """Options of a pool of workers.

    Raises `ConfigurationError` for the first that cannot work.

    concurrency: jobs that run at the same time, 1 to 10000; default 1.
    schema: Postgres schema of the job tables, 1 to 63 bytes; default graphile_worker.
    poll_interval: how often to look for jobs when no notification arrives; a timedelta of at least
        1 ms, default 2 s.
    max_pool_size: connections at most, when opened from a connection string; 4 to 10000, default
        10.
    logger: receives what is logged; default Python's `logging` under the name kongtask.
    events: where events are emitted; default a bus of the pool's own.
    cron_items: recurring jobs to add while the pool runs, from `parse_crontab`; default none.
    no_handle_signals: when True, SIGTERM and SIGINT are left alone; default False.
    forbidden_flags: jobs with one of these flags are left to others; default none.
    forbidden_flags_fn: returns such flags; plain or coroutine function, asked before every fetch;
        default None.
    worker_name: shown in locks and logs, so that people and the operator know whose they are;
        default none.
    job_timeout: how long a run may take at most, for tasks without a timeout of their own; a
        timedelta of at least 1 ms, default None for as long as it needs.
    listen: whether to be told of new jobs by NOTIFY; default True. Without, jobs start at the next
        poll, and running jobs cannot be cancelled from outside. For poolers in transaction mode.
    drain_timeout: how long running jobs may take after a stop before they are cut off and given
        back; a timedelta of 0 or more, default None for as long as they need.
    drain_action: what becomes of those: "release" gives them back with their attempt, "fail" fails
        them, with the usual back-off; default release.
    recovery_timeout: within which time others free this pool's jobs when its process died; a
        timedelta of at least 1 s, default 10 s. A process that lives and is stopped, or cut off
        from the database, counts as dead after four times as long.
    attempts_count: whether the attempts count that died with the process; default True, so that a
        job which kills its process is not tried for ever.
    clock: what tells the time; for tests.

    >>> WorkerPoolOptions(concurrency=4).poll_interval
    datetime.timedelta(seconds=2)
    """

    concurrency: int = 1
    schema: str = DEFAULT_SCHEMA
    poll_interval: timedelta = timedelta(seconds=2)
    max_pool_size: int = 10
    logger: Logger = field(default_factory=StandardLogger)
    events: EventBus = field(default_factory=EventBus)
    cron_items: Sequence[ParsedCronItem] = ()
    no_handle_signals: bool = False
    forbidden_flags: Sequence[str] = ()
    forbidden_flags_fn: ForbiddenFlags | None = None
    worker_name: str = ""
    job_timeout: timedelta | None = None
    listen: bool = True
    drain_timeout: timedelta | None = None
    drain_action: DrainAction = "release"
    recovery_timeout: timedelta = timedelta(seconds=10)
    attempts_count: bool = True
    clock: Clock = field(default_factory=Clock, repr=False)

    def __post_init__(self) -> None:
        """Raise `ConfigurationError` for the first option that cannot work."""
        quote_schema(self.schema)
        _check_range("concurrency", self.concurrency, 1, MAX_CONCURRENCY)
        _check_range("max_pool_size", self.max_pool_size, 1, MAX_CONCURRENCY)
        _check_period("poll_interval", self.poll_interval, timedelta(milliseconds=1))
        if self.job_timeout is not None:
            _check_period("job_timeout", self.job_timeout, timedelta(milliseconds=1))
        _check_period("recovery_timeout", self.recovery_timeout, timedelta(seconds=1))
        if self.drain_timeout is not None:
            _check_period("drain_timeout", self.drain_timeout, timedelta(0))
        for name, rule, is_kept in _RULES:
            value = getattr(self, name)
            if not is_kept(value):
                raise ConfigurationError(f"{name} must be {rule}, got {shown(value)}")


def _check_range(field_name: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ConfigurationError(
            f"{field_name} must be between {low} and {high}, got {shown(value)}"
        )


def _check_period(field_name: str, value: object, low: timedelta) -> None:
    if not isinstance(value, timedelta) or value < low:
        raise ConfigurationError(
            f"{field_name} must be a timedelta of at least {low.total_seconds():g} s, "
            f"got {shown(value)}"
        )


def _are(kind: Callable[[object], bool]) -> Callable[[object], bool]:
    """Whether a value is a sequence of such, and not one text, whose letters would be taken."""
    return lambda value: (
        isinstance(value, Sequence) and not isinstance(value, str) and all(map(kind, value))
    )


def _has(*methods: str) -> Callable[[object], bool]:
    return lambda value: all(callable(getattr(value, each, None)) for each in methods)


def _is_cron_item(value: object) -> bool:
    from kongtask.core.cron.item import ParsedCronItem  # most pools have none

    return isinstance(value, ParsedCronItem)


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


_RULES: tuple[tuple[str, str, Callable[[object], bool]], ...] = (
    ("forbidden_flags", "a list of flags", _are(is_text)),
    ("forbidden_flags_fn", "a function, or None", lambda value: value is None or callable(value)),
    ("cron_items", "a list of what parse_crontab returns",
     _are(_is_cron_item)),
    ("logger", "an object with debug, info, warn and error",
     _has("debug", "info", "warn", "error")),
    ("events", "an EventBus", lambda value: isinstance(value, EventBus)),
    ("worker_name", "text without NUL and lone surrogates", is_text),
    ("no_handle_signals", "True or False", _is_bool),
    ("listen", "True or False", _is_bool),
    ("attempts_count", "True or False", _is_bool),
    ("drain_action", "release or fail", lambda value: value in ("release", "fail")),
    ("clock", "a Clock", _has("now", "token")),
)  # fmt: skip
