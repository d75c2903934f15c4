"""The one exception tree of the package; nothing here knows where a failure came from.

    KongTaskError
    ├── ConfigurationError      settings, crontab, manifest, connection string: the user can fix it
    │   ├── DatabaseRefused     the server answered and said no: password, role, database name
    │   └── SchemaTooNew        the schema was migrated further than this version understands
    │       └── SchemaForeign   the schema was made by another tool, or by one too old to upgrade
    ├── InvalidJob              a job or its options broke a rule; see `.code`
    │   ├── TaskIdentifierTooLong, QueueNameTooLong, JobKeyTooLong
    │   └── InvalidMaxAttempts, InvalidJobKeyMode
    ├── TaskNotFound            a job names a task that this worker does not have
    ├── StoreUnavailable        Postgres cannot be reached or was lost; trying again is right
    ├── ClusterUnavailable      the same for the Kubernetes API
    └── ShutdownTimeout         jobs were still running when patience ended; `.jobs` says which

Foreign errors become one of these at the door they came through, with the original as cause. An
exception of a user's own task is never wrapped: it becomes an outcome.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from kongtask.core.job import Job


SHOWN = 80
"""Characters of a value that a message shows."""


class KongTaskError(Exception):
    """Any failure that KongTask reports by itself.

    >>> issubclass(StoreUnavailable, KongTaskError) and issubclass(InvalidJob, KongTaskError)
    True
    """


class ConfigurationError(KongTaskError):
    """Something the user wrote cannot work; the message names it and the way out.

    >>> from kongtask import WorkerPoolOptions
    >>> WorkerPoolOptions(concurrency=0)
    Traceback (most recent call last):
    kongtask.errors.ConfigurationError: concurrency must be between 1 and 10000, got 0
    """


class DatabaseRefused(ConfigurationError):
    """Postgres answered and refused; `reason` is a stable word for conditions and metrics.

    reason: AuthenticationFailed, DatabaseNotFound, PermissionDenied or ConnectionFailed.

    >>> DatabaseRefused("me@db:5432/shop: it does not exist", reason="DatabaseNotFound").reason
    'DatabaseNotFound'
    """

    def __init__(self, message: str, *, reason: str = "ConnectionFailed") -> None:
        super().__init__(message)
        self.reason = reason


class SchemaTooNew(ConfigurationError):
    """The database was migrated by a newer, breaking version: upgrade KongTask.

    Example::

        await pool.execute(
            "insert into graphile_worker.migrations (id, breaking) values (1000, true)"
        )
        try:
            await run_task_list_once({"mail": send_mail}, pool)
        except SchemaTooNew as error:
            assert "upgrade KongTask" in str(error)
        else:
            raise AssertionError("it worked on tables that it does not understand")
    """


class SchemaForeign(SchemaTooNew):
    """The schema holds tables that this version can neither use nor upgrade.

    >>> issubclass(SchemaForeign, SchemaTooNew)
    True
    """


class InvalidJob(KongTaskError, ValueError):
    """A job or its options broke a rule; nothing was added. The codes are Graphile Worker's.

    code: GWBID, GWBQN, GWBJK, GWBMA or GWBKM; empty for rules without a code.
    field: the option, such as queue_name, payload or task.
    value: what was given. A payload is never kept, only the name of its type.
    limit: what is allowed: a number of characters, the highest number, or the values; else None.
    position: the job's place among those added together, from 0; None for a single one.

    >>> from kongtask.core.task_spec import TaskSpec, check_job
    >>> try:
    ...     check_job("mail", TaskSpec(queue_name="q" * 129))
    ... except InvalidJob as error:
    ...     print(error.code, error.field, len(error.value), error.limit, error.position)
    GWBQN queue_name 129 128 None
    """

    code: ClassVar[str] = ""

    def __init__(
        self,
        message: str,
        *,
        field: str = "",
        value: object = None,
        limit: object = None,
        position: int | None = None,
    ) -> None:
        where = "" if position is None else f"job {position}: "
        prefix = f"{self.code}: " if self.code else ""
        super().__init__(f"{prefix}{where}{message}")
        self.field = field
        self.value = value
        self.limit = limit
        self.position = position


class TaskIdentifierTooLong(InvalidJob):
    """The task identifier has more than 128 characters.

    >>> from kongtask.core.task_spec import TaskSpec, check_job
    >>> check_job("t" * 129, TaskSpec())
    Traceback (most recent call last):
    kongtask.errors.TaskIdentifierTooLong: GWBID: task must have 1 to 128 characters, got 129
    """

    code = "GWBID"


class QueueNameTooLong(InvalidJob):
    """The queue name has more than 128 characters.

    >>> from kongtask.core.task_spec import TaskSpec, check_job
    >>> check_job("mail", TaskSpec(queue_name="q" * 129))
    Traceback (most recent call last):
    kongtask.errors.QueueNameTooLong: GWBQN: queue_name must have 0 to 128 characters, got 129
    """

    code = "GWBQN"


class JobKeyTooLong(InvalidJob):
    """The job key has more than 512 characters, or none.

    >>> from kongtask.core.task_spec import TaskSpec, check_job
    >>> check_job("mail", TaskSpec(job_key=""))
    Traceback (most recent call last):
    kongtask.errors.JobKeyTooLong: GWBJK: job_key must have 1 to 512 characters, got 0
    """

    code = "GWBJK"


class InvalidMaxAttempts(InvalidJob):
    """max_attempts is not a whole number between 1 and 32767.

    >>> from kongtask.core.task_spec import TaskSpec, check_job
    >>> check_job("mail", TaskSpec(max_attempts=0))
    Traceback (most recent call last):
    kongtask.errors.InvalidMaxAttempts: GWBMA: max_attempts must be between 1 and 32767, got 0
    """

    code = "GWBMA"


class InvalidJobKeyMode(InvalidJob):
    """job_key_mode is not replace, preserve_run_at or unsafe_dedupe.

    >>> from kongtask.core.task_spec import TaskSpec, check_job
    >>> check_job("mail", TaskSpec(job_key="k", job_key_mode="merge"))
    Traceback (most recent call last):
    kongtask.errors.InvalidJobKeyMode: GWBKM: job_key_mode must be replace, preserve_run_at or \
unsafe_dedupe, got 'merge'
    """

    code = "GWBKM"


class TaskNotFound(KongTaskError):
    """A job names a task that this worker does not have.

    Never seen while the queue works as it should: jobs are fetched by the names a pool has.

    >>> issubclass(TaskNotFound, ConfigurationError)
    False
    """


class StoreUnavailable(KongTaskError):
    """Postgres cannot be reached or was lost; trying again is right.

    Example::

        try:
            await WorkerUtils.connect("postgres://me:secret@127.0.0.1:1/shop")
        except StoreUnavailable as error:
            assert "me@127.0.0.1:1/shop" in str(error) and "secret" not in str(error)
    """


class ClusterUnavailable(KongTaskError):
    """The Kubernetes API cannot be reached or was lost; trying again is right."""


class ShutdownTimeout(KongTaskError):
    """Jobs were still running when patience ended, or a second signal came; they were cut off.

    jobs: those that were cut off, each a `Job`; another worker runs them anew.
    signal: the name of the signal that cut them off, such as "SIGTERM"; None when time did.

    Example::

        async def slow(payload, helpers):
            began.set()
            await asyncio.Event().wait()

        began = asyncio.Event()
        options = WorkerPoolOptions(drain_timeout=timedelta(0))
        workers = await run_task_list({"slow": slow}, pool, options)
        job = await utils.add_job("slow")
        await began.wait()
        try:
            await workers.release()
        except ShutdownTimeout as error:
            assert [each.id for each in error.jobs] == [job.id]
    """

    def __init__(
        self, jobs: Sequence[Job], signal: str | None = None, became: str = "given back"
    ) -> None:
        names = ", ".join(f"{job.task_identifier} (job {job.id})" for job in jobs[:10])
        more = f" and {len(jobs) - 10} more" if len(jobs) > 10 else ""
        why = "give them more time with a longer drain timeout"
        if signal is not None:
            why = f"a second {signal} came"
        who = "1 job was" if len(jobs) == 1 else f"{len(jobs)} jobs were"
        super().__init__(f"{who} cut off and {became}: {names}{more}; {why}")
        self.jobs = tuple(jobs)
        self.signal = signal


def shown(value: object) -> str:
    """Return the value as messages show it, cut short.

    >>> shown("a" * 100)[:10], len(shown("a" * 100))
    ("'aaaaaaaaa", 80)
    """
    try:
        text = repr(value)
    except Exception:  # too deep, too many digits, or a class that cannot say what it is
        return f"a {type(value).__name__}"
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
