"""Every name that KongTask for Go promises, what it is called here, and the test that shows it.

These are facts only; `api_page` makes the tables of docs/api.md of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A type or a group of Go: what each of its names is called here.

    names: by the Go name. A Python name that begins with a dot belongs to `python`.
    """

    go: str
    python: str
    test: str
    names: Mapping[str, str] = field(default_factory=dict)


def _same(*names: str) -> dict[str, str]:
    return {name: f".{''.join(_snake(name))}" for name in names}


def _snake(name: str) -> str:
    """Return `run_at` for `RunAt` and `worker_id` for `WorkerID`."""
    letters = name.replace("ID", "Id")
    return "".join(f"_{each.lower()}" if each.isupper() else each for each in letters).lstrip("_")


PARTS = (
    Part(
        go="TaskHandler", python="TaskHandler", test="test_task_handler",
        names={"ctx": "Helpers.is_cancelled", "payload": "Job.payload", "helpers": "Helpers"},
    ),
    Part(go="Logger", python="Logger", test="test_logger",
         names=_same("Debug", "Info", "Warn", "Error")),
    Part(go="EventBus", python="EventBus", test="test_event_bus", names=_same("On", "Emit")),
    Part(go="NewEventBus", python="EventBus", test="test_event_bus"),
    Part(go="RunTaskList", python="run_task_list", test="test_worker_pool"),
    Part(go="RunTaskListOnce", python="run_task_list_once", test="test_task_handler"),
    Part(go="RunMigrations", python="run_migrations", test="test_run_migrations"),
    Part(
        go="WorkerPoolOptions", python="WorkerPoolOptions", test="test_worker_pool_options",
        names=_same(
            "Concurrency", "Schema", "PollInterval", "MaxPoolSize", "Logger", "Events",
            "CronItems", "NoHandleSignals", "ForbiddenFlags", "ForbiddenFlagsFn",
        ),
    ),
    Part(go="WorkerPool", python="WorkerPool", test="test_worker_pool",
         names=_same("Wait", "Release", "AddJob")),
    Part(go="NewWorker", python="Worker", test="test_worker"),
    Part(
        go="Worker", python="Worker", test="test_worker",
        names=_same(
            "AddJob", "AddJobWithSpec", "AddJobWithReplace", "AddJobWithPreserveRunAt",
            "AddJobWithUnsafeDedupe",
        ),
    ),
    Part(go="Helpers", python="Helpers", test="test_helpers",
         names=_same("Logger", "Pool", "AddJob", "Schema", "Job", "WorkerID")),
    Part(
        go="TaskSpec", python="TaskSpec", test="test_task_spec",
        names=_same(
            "QueueName", "RunAt", "Priority", "MaxAttempts", "JobKey", "JobKeyMode", "Flags"
        ),
    ),
    Part(
        go="Job", python="Job", test="test_job",
        names=_same(
            "ID", "QueueName", "TaskIdentifier", "Payload", "Priority", "RunAt", "Attempts",
            "MaxAttempts", "LastError", "CreatedAt", "UpdatedAt", "Key", "Revision", "LockedAt",
            "LockedBy", "Flags",
        ),
    ),
    Part(go="WorkerUtils", python="WorkerUtils", test="test_worker_utils",
         names=_same("CompleteJobs", "PermanentlyFailJobs", "RescheduleJobs", "AddJob")),
    Part(go="RescheduleSpec", python="RescheduleSpec", test="test_worker_utils",
         names=_same("RunAt", "Priority", "Attempts", "MaxAttempts")),
    Part(go="CronItem", python="CronItem", test="test_cron_items",
         names=_same("Task", "Identifier", "Pattern", "Options", "Payload")),
    Part(go="CronItemOptions", python="CronItemOptions", test="test_cron_items",
         names=_same("BackfillPeriod", "QueueName", "Priority", "MaxAttempts")),
    Part(
        go="ParsedCronItem", python="ParsedCronItem", test="test_cron_items",
        names={
            **_same("Job", "Identifier", "Minutes", "Hours", "Dates", "Months", "Options"),
            "DOWs": ".dows",
        },
    ),
    Part(
        go="events", python="events", test="test_events",
        names={
            "WorkerCreate": ".WORKER_CREATE", "WorkerRelease": ".WORKER_RELEASE",
            "WorkerStop": ".WORKER_STOP", "WorkerGetJobStart": ".WORKER_GET_JOB_START",
            "JobStart": ".JOB_START", "JobComplete": ".JOB_COMPLETE",
            "JobSuccess": ".JOB_SUCCESS", "JobError": ".JOB_ERROR", "JobFailed": ".JOB_FAILED",
            "PoolCreate": ".POOL_CREATE", "PoolRelease": ".POOL_RELEASE", "Stop": ".STOP",
        },
    ),
    Part(go="WorkerCreateData", python="events.WorkerCreateData", test="test_events",
         names=_same("WorkerID")),
    Part(go="JobStartData", python="events.JobStartData", test="test_events",
         names=_same("WorkerID", "Job")),
    Part(go="JobCompleteData", python="events.JobCompleteData", test="test_events",
         names=_same("WorkerID", "Job", "Error")),
    Part(
        go="errors", python="InvalidJob", test="test_errors",
        names={
            "GWBID": "TaskIdentifierTooLong.code", "GWBQN": "QueueNameTooLong.code",
            "GWBJK": "JobKeyTooLong.code", "GWBMA": "InvalidMaxAttempts.code",
            "GWBKM": "InvalidJobKeyMode.code",
            "ErrTaskIdentifierTooLong": "TaskIdentifierTooLong",
            "ErrQueueNameTooLong": "QueueNameTooLong", "ErrJobKeyTooLong": "JobKeyTooLong",
            "ErrInvalidMaxAttempts": "InvalidMaxAttempts",
            "ErrInvalidJobKeyMode": "InvalidJobKeyMode",
        },
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """One Go name, its Python name below `kongtask`, and its test in test_promises.py."""

    go: str
    python: str
    test: str


def rows(part: Part) -> list[Row]:
    """Return the part's own row, then one for each of its names."""
    below = [
        Row(f"{part.go}.{go}", f"{part.python}{name}" if name[0] == "." else name, part.test)
        for go, name in part.names.items()
    ]
    return [Row(part.go, part.python, part.test), *below]
