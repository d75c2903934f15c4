"""A PostgreSQL job queue on Graphile Worker's tables.

Everything users call is here; what is not in `__all__` may change in any release. A name's module
is loaded when the name is first used, so that each program loads what it needs and no more.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from kongtask.version import __version__

if TYPE_CHECKING:
    from kongtask.core import event as events
    from kongtask.core.control import (
        FailJob,
        JobCancelled,
        JobLost,
        JobTimedOut,
        RetryJob,
        SnoozeJob,
    )
    from kongtask.core.cron.crontab import CrontabError, parse_cron_items, parse_crontab
    from kongtask.core.cron.item import CronItem, CronItemOptions, ParsedCronItem
    from kongtask.core.cron.schedule import KnownCrontab
    from kongtask.core.job import Job
    from kongtask.core.task_spec import JobKeyMode, TaskSpec
    from kongtask.errors import (
        ConfigurationError,
        DatabaseRefused,
        InvalidJob,
        InvalidJobKeyMode,
        InvalidMaxAttempts,
        JobKeyTooLong,
        KongTaskError,
        QueueNameTooLong,
        SchemaTooNew,
        ShutdownTimeout,
        StoreUnavailable,
        TaskIdentifierTooLong,
        TaskNotFound,
    )
    from kongtask.logger import Logger, ScopedLogger, StandardLogger, StructlogLogger
    from kongtask.postgres.administration import RescheduleSpec
    from kongtask.postgres.migrations import run_migrations
    from kongtask.worker.event_bus import EventBus
    from kongtask.worker.helpers import Helpers, ThreadHelpers
    from kongtask.worker.options import WorkerPoolOptions
    from kongtask.worker.pool import WorkerPool
    from kongtask.worker.runner import run_task_list, run_task_list_once
    from kongtask.worker.tasks import TaskHandler, task
    from kongtask.worker_utils import Worker, WorkerUtils

__all__ = [
    "ConfigurationError",
    "CronItem",
    "CronItemOptions",
    "CrontabError",
    "DatabaseRefused",
    "EventBus",
    "FailJob",
    "Helpers",
    "InvalidJob",
    "InvalidJobKeyMode",
    "InvalidMaxAttempts",
    "Job",
    "JobCancelled",
    "JobKeyMode",
    "JobKeyTooLong",
    "JobLost",
    "JobTimedOut",
    "KnownCrontab",
    "KongTaskError",
    "Logger",
    "ParsedCronItem",
    "QueueNameTooLong",
    "RescheduleSpec",
    "RetryJob",
    "SchemaTooNew",
    "ScopedLogger",
    "ShutdownTimeout",
    "SnoozeJob",
    "StandardLogger",
    "StoreUnavailable",
    "StructlogLogger",
    "TaskHandler",
    "TaskIdentifierTooLong",
    "TaskNotFound",
    "TaskSpec",
    "ThreadHelpers",
    "Worker",
    "WorkerPool",
    "WorkerPoolOptions",
    "WorkerUtils",
    "__version__",
    "events",
    "parse_cron_items",
    "parse_crontab",
    "run_migrations",
    "run_task_list",
    "run_task_list_once",
    "task",
]

_HOMES = {
    "kongtask.core.control": (
        "FailJob",
        "JobCancelled",
        "JobLost",
        "JobTimedOut",
        "RetryJob",
        "SnoozeJob",
    ),
    "kongtask.core.cron.crontab": ("CrontabError", "parse_cron_items", "parse_crontab"),
    "kongtask.core.cron.item": ("CronItem", "CronItemOptions", "ParsedCronItem"),
    "kongtask.core.cron.schedule": ("KnownCrontab",),
    "kongtask.core.job": ("Job",),
    "kongtask.core.task_spec": ("JobKeyMode", "TaskSpec"),
    "kongtask.errors": (
        "ConfigurationError",
        "DatabaseRefused",
        "InvalidJob",
        "InvalidJobKeyMode",
        "InvalidMaxAttempts",
        "JobKeyTooLong",
        "KongTaskError",
        "QueueNameTooLong",
        "SchemaTooNew",
        "ShutdownTimeout",
        "StoreUnavailable",
        "TaskIdentifierTooLong",
        "TaskNotFound",
    ),
    "kongtask.logger": ("Logger", "ScopedLogger", "StandardLogger", "StructlogLogger"),
    "kongtask.postgres.administration": ("RescheduleSpec",),
    "kongtask.postgres.migrations": ("run_migrations",),
    "kongtask.worker.event_bus": ("EventBus",),
    "kongtask.worker.helpers": ("Helpers", "ThreadHelpers"),
    "kongtask.worker.options": ("WorkerPoolOptions",),
    "kongtask.worker.pool": ("WorkerPool",),
    "kongtask.worker.runner": ("run_task_list", "run_task_list_once"),
    "kongtask.worker.tasks": ("TaskHandler", "task"),
    "kongtask.worker_utils": ("Worker", "WorkerUtils"),
}
"""Where each name is, but for `events`, which is a module. Type checkers read the imports above."""

_HOME = {name: module for module, names in _HOMES.items() for name in names}

if not TYPE_CHECKING:  # a type checker is to complain of names that are not there

    def __getattr__(name: str) -> object:
        """Load what is asked for and keep it, so that this is called once for each name."""
        if name == "events":
            found = import_module("kongtask.core.event")
        elif name in _HOME:
            found = getattr(import_module(_HOME[name]), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    """Return what is here, also what is not loaded yet."""
    return sorted({*globals(), *__all__})
