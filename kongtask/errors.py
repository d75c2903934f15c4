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


class KongTaskError(Exception):
    """Any failure that KongTask reports by itself."""


class ConfigurationError(KongTaskError):
    """Something the user wrote cannot work; the message names it and the way out."""


class DatabaseRefused(ConfigurationError):
    """Postgres answered and refused; `reason` is a stable word for conditions and metrics."""

    def __init__(self, message: str, *, reason: str = "ConnectionFailed") -> None:
        super().__init__(message)
        self.reason = reason


class SchemaTooNew(ConfigurationError):
    """The database was migrated by a newer, breaking version."""


class SchemaForeign(SchemaTooNew):
    """The schema holds tables that this version can neither use nor upgrade."""


class InvalidJob(KongTaskError, ValueError):
    """A job or its options broke a rule.

    `code` is one of GWBID, GWBQN, GWBJK, GWBMA and GWBKM, or empty for rules without a code;
    `field` names the option, `value` what was given and `limit` what is allowed.
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
    """The task identifier has more than 128 characters."""

    code = "GWBID"


class QueueNameTooLong(InvalidJob):
    """The queue name has more than 128 characters."""

    code = "GWBQN"


class JobKeyTooLong(InvalidJob):
    """The job key has more than 512 characters, or none."""

    code = "GWBJK"


class InvalidMaxAttempts(InvalidJob):
    """max_attempts is not between 1 and 32767."""

    code = "GWBMA"


class InvalidJobKeyMode(InvalidJob):
    """job_key_mode is not replace, preserve_run_at or unsafe_dedupe."""

    code = "GWBKM"


class TaskNotFound(KongTaskError):
    """A job names a task that this worker does not have."""


class StoreUnavailable(KongTaskError):
    """Postgres cannot be reached or was lost; trying again is right."""


class ClusterUnavailable(KongTaskError):
    """The Kubernetes API cannot be reached or was lost; trying again is right."""


class ShutdownTimeout(KongTaskError):
    """Jobs were still running when patience ended; they were cut off and given back."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        names = ", ".join(f"{job.task_identifier} (job {job.id})" for job in jobs[:10])
        more = f" and {len(jobs) - 10} more" if len(jobs) > 10 else ""
        super().__init__(
            f"{len(jobs)} jobs were cut off and given back: {names}{more}; "
            "give them more time with a longer drain timeout"
        )
        self.jobs = tuple(jobs)
