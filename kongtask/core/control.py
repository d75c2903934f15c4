"""What a handler can raise to say itself what becomes of its job.

These are not failures of the handler: no traceback is logged for them.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TypeAlias

When: TypeAlias = timedelta | datetime
"""A delay from now by the database's clock, or an aware moment."""


class JobControl(Exception):
    """Raised by a handler instead of returning."""


class SnoozeJob(JobControl):
    """Run the job again later, as if it had not been run: the attempt does not count.

    when: a timedelta of 0 or more, or an aware datetime. Raises ValueError for anything else.

    >>> raise SnoozeJob(timedelta(minutes=5))
    Traceback (most recent call last):
    kongtask.core.control.SnoozeJob: snoozed for 0:05:00
    """

    def __init__(self, when: When) -> None:
        self.when = checked(when)
        super().__init__(f"snoozed {in_words(when)}")


class RetryJob(JobControl):
    """Count the attempt as failed and try again at a chosen time instead of after the back-off.

    when: as in `SnoozeJob`.
    reason: kept as the job's `last_error`.

    On the last attempt the job fails for good, as it does after any other exception.

    >>> RetryJob(timedelta(hours=1), "the bank is closed").when
    datetime.timedelta(seconds=3600)
    """

    def __init__(self, when: When, reason: str = "") -> None:
        self.when = checked(when)
        super().__init__(reason or f"to be tried again {in_words(when)}")


class FailJob(JobControl):
    """Fail the job for good, however many attempts are left. It stays in the table.

    reason: kept as the job's `last_error`.

    >>> str(FailJob("no such customer"))
    'no such customer'
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


class JobTimedOut(Exception):
    """The handler took longer than its task may. The attempt counts as failed.

    Example::

        @task(timeout=timedelta(milliseconds=50))
        async def slow(payload, helpers):
            await asyncio.Event().wait()

        errors = []
        bus = EventBus()
        bus.on(events.JOB_ERROR, lambda data: errors.append(data.error))
        await utils.add_job("slow")
        await run_task_list_once({"slow": slow}, pool, WorkerPoolOptions(events=bus))
        assert isinstance(errors[0], JobTimedOut)
    """


class JobCancelled(Exception):
    """Somebody cancelled the job while it ran. It is not tried again.

    Example::

        async def slow(payload, helpers):
            began.set()
            await asyncio.Event().wait()

        def failed(data):
            errors.append(data.error)
            ended.set()

        began, ended, errors, bus = asyncio.Event(), asyncio.Event(), [], EventBus()
        bus.on(events.JOB_FAILED, failed)
        listening = asyncio.Event()
        bus.on(events.POOL_LISTEN_SUCCESS, lambda data: listening.set())
        async with await run_task_list({"slow": slow}, pool, WorkerPoolOptions(events=bus)):
            await listening.wait()
            job = await utils.add_job("slow")
            await began.wait()
            await utils.cancel_jobs([job.id])
            await ended.wait()
        assert isinstance(errors[0], JobCancelled)
    """


class JobLost(Exception):
    """The lock of a running job is gone: others may run the job. Nothing is written of this run.

    Its process stood still for longer than its recovery time, or somebody unlocked the job.

    Example::

        async def slow(payload, helpers):
            began.set()
            try:
                await asyncio.Event().wait()
            finally:
                told.append(helpers.is_cancelled)
                ended.set()

        began, ended, told = asyncio.Event(), asyncio.Event(), []
        options = WorkerPoolOptions(recovery_timeout=timedelta(seconds=1))
        async with await run_task_list({"slow": slow}, pool, options) as workers:
            job = await utils.add_job("slow")
            await began.wait()
            await utils.force_unlock_workers([workers.pool_id])
            await utils.permanently_fail_jobs([job.id])
            await ended.wait()
        assert told[0]
    """


def checked(when: When) -> When:
    """Return the time; raises ValueError when it cannot be one."""
    if isinstance(when, timedelta):
        if when >= timedelta(0):
            return when
    elif isinstance(when, datetime) and when.tzinfo is not None:
        return when
    raise ValueError(f"when must be a timedelta of 0 or more or an aware datetime, got {when!r}")


def in_words(when: When) -> str:
    """Return "for 0:05:00" or "until 2026-01-02 03:04:05+00:00"."""
    return f"for {when}" if isinstance(when, timedelta) else f"until {when}"
