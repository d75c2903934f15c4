"""What people do to jobs by hand: finish, fail, move, remove, unlock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

import asyncpg

from kongtask.core.job import Job
from kongtask.core.task_spec import TaskSpec, check_job, check_number, is_text
from kongtask.errors import ConfigurationError, InvalidJob, shown
from kongtask.postgres.listener import CANCEL_CHANNEL
from kongtask.postgres.records import job_from_record, storable_text, translated_statement
from kongtask.postgres.statements import statement

JobState = Literal["waiting", "scheduled", "running", "failed"]
"""Could run now, later, runs, or failed for good."""

BIGINT_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RescheduleSpec:
    """What to change about jobs; None leaves a column alone, zero is a value.

    The rules are checked by `WorkerUtils.reschedule_jobs`: `InvalidJob`.

    run_at: not before this moment (aware datetime).
    priority: lower runs first; from -32768 to 32767.
    attempts: how many count as spent, 0 to 32767; 0 revives a job that failed for good.
    max_attempts: how often a job may run before it is failed for good; 1 to 32767.

    >>> RescheduleSpec(attempts=0).attempts
    0
    """

    run_at: datetime | None = None
    priority: int | None = None
    attempts: int | None = None
    max_attempts: int | None = None


class JobAdministration:
    """The job table of one schema, as its operators see it."""

    def __init__(self, pool: asyncpg.Pool[Any], schema: str) -> None:
        self._pool = pool
        self._schema = schema

    async def complete_jobs(self, job_ids: Sequence[int]) -> list[Job]:
        """Delete jobs as done; return those that were not running."""
        return await self._jobs("admin_complete_jobs", _ids(job_ids))

    async def permanently_fail_jobs(
        self, job_ids: Sequence[int], reason: str | None = None
    ) -> list[Job]:
        """Fail jobs for good; return those that were not running."""
        text = None if reason is None else _reason(reason)
        return await self._jobs("admin_fail_jobs", _ids(job_ids), text)

    async def reschedule_jobs(self, job_ids: Sequence[int], spec: RescheduleSpec) -> list[Job]:
        """Change when and how jobs run; return those that were not running."""
        _check(spec)
        return await self._jobs(
            "admin_reschedule_jobs",
            _ids(job_ids), spec.run_at, spec.priority, spec.attempts, spec.max_attempts,
        )  # fmt: skip

    async def remove_job(self, job_key: str) -> Job | None:
        """Remove the job with this key, or None; one that runs loses its further attempts."""
        check_job("removed", TaskSpec(job_key=job_key))
        jobs = await self._jobs("admin_remove_job", job_key)
        return jobs[0] if jobs else None

    async def force_unlock_workers(self, pool_ids: Sequence[str]) -> None:
        """Unlock everything these pools hold; only right when they are dead."""
        is_list = isinstance(pool_ids, Iterable) and not isinstance(pool_ids, str)
        if not is_list or not all(map(is_text, pool_ids)):
            raise ConfigurationError(
                f"pool_ids must be a list of pools' names, got {shown(pool_ids)}"
            )
        await self._jobs("admin_force_unlock", list(pool_ids))

    async def cancel_jobs(self, job_ids: Sequence[int], reason: str = "cancelled") -> list[Job]:
        """Fail waiting jobs for good and tell the pools that run the others; return them all."""
        return await self._jobs("admin_cancel_jobs", _ids(job_ids), _reason(reason), CANCEL_CHANNEL)

    async def list_jobs(self, state: JobState, limit: int) -> list[Job]:
        """Return jobs of one state, the next to run first."""
        if state not in get_args(JobState) or not _is_number(limit, 1):
            states = ", ".join(get_args(JobState))
            raise ConfigurationError(
                f"state must be one of {states} and limit 1 or more, "
                f"got {shown(state)} and {shown(limit)}"
            )
        return await self._jobs("list_jobs", state, limit)

    async def known_tasks(self) -> list[str]:
        """Return the task identifiers that workers have announced or jobs were added for."""
        with translated_statement(self._schema):
            rows = await self._pool.fetch(statement("known_tasks", self._schema))
        return [row["identifier"] for row in rows]

    async def _jobs(self, name: str, *arguments: object) -> list[Job]:
        with translated_statement(self._schema):
            rows = await self._pool.fetch(statement(name, self._schema), *arguments)
        return [job_from_record(row) for row in rows if row.get("id") is not None]


def _check(spec: RescheduleSpec) -> None:
    """Raise `InvalidJob` for the first value that no job may have."""
    if not isinstance(spec, RescheduleSpec):
        raise InvalidJob(
            f"spec must be a RescheduleSpec, got {shown(spec)}", field="spec", value=spec
        )
    same = TaskSpec(run_at=spec.run_at, priority=spec.priority, max_attempts=spec.max_attempts)
    check_job("rescheduled", same)
    check_number("attempts", spec.attempts, 0)


def _ids(job_ids: Sequence[int]) -> list[int]:
    """Return the ids as a list; raises `InvalidJob` for what no job's id can be."""
    found = list(job_ids) if isinstance(job_ids, Iterable) else []
    numbers = all(_is_number(each, -BIGINT_MAX) for each in found)
    if not isinstance(job_ids, Iterable) or not numbers:
        raise InvalidJob(
            f"job_ids must be a list of whole numbers of 64 bits, got {shown(job_ids)}",
            field="job_ids", value=job_ids, limit=BIGINT_MAX,
        )  # fmt: skip
    return found


def _is_number(value: object, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= BIGINT_MAX


def _reason(reason: str) -> str:
    if not isinstance(reason, str):
        raise InvalidJob(f"reason must be text, got {shown(reason)}", field="reason", value=reason)
    return storable_text(reason)
