"""A PostgreSQL job queue on Graphile Worker's tables.

Everything users call is here; what is not in `__all__` may change in any release.
"""

from kongtask.core import event as events
from kongtask.core.control import FailJob, JobCancelled, JobLost, JobTimedOut, RetryJob, SnoozeJob
from kongtask.core.cron import (
    CronItem,
    CronItemOptions,
    CrontabError,
    KnownCrontab,
    ParsedCronItem,
    parse_cron_items,
    parse_crontab,
)
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
from kongtask.version import __version__
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
