"""What PostgreSQL says no to, in the package's errors, whichever driver brings the news.

Drivers keep the same facts under different names, some of them on the exception's cause. It refuses
to translate what a caller cannot act on by class: None means that the driver's error may pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from kongtask.core.new_job import WantedJob
from kongtask.core.task_spec import (
    MAX_IDENTIFIER,
    MAX_JOB_KEY,
    MAX_QUEUE_NAME,
    SMALLINT_MAX,
    JobKeyMode,
)
from kongtask.errors import (
    ConfigurationError,
    DatabaseRefused,
    InvalidJob,
    InvalidJobKeyMode,
    InvalidMaxAttempts,
    JobKeyTooLong,
    KongTaskError,
    QueueNameTooLong,
    StoreUnavailable,
    TaskIdentifierTooLong,
)

_CHECK_VIOLATED = "23514"
_NUMBER_TOO_LARGE = "22003"
_CANNOT_HOLD = "22"
_MAY_NOT = "42501"
_TOO_MUCH = frozenset({"54000", "54001"})
_SCHEMA_MISSING = frozenset({"3F000", "42P01", "42703", "42883", "42704"})
_LOST = frozenset({"57P01", "57P02", "57P03", "53300"})
_LOST_CLASS = "08"
_PREPARED_ELSEWHERE = frozenset({"26000", "42P05"})


@dataclass(frozen=True, slots=True)
class Facts:
    """What an exception knows of PostgreSQL's answer; `sqlstate` is empty when there was none."""

    sqlstate: str
    constraint: str
    message: str


@dataclass(frozen=True, slots=True)
class _Rule:
    """A rule of the tables. `badness` grows towards breaking it: the worst job surely broke it."""

    name: str
    kind: type[InvalidJob]
    field: str
    limit: object
    value: Callable[[WantedJob], Any]
    badness: Callable[[Any], Any]


def _excess(limit: int) -> Callable[[str | None], tuple[int, int]]:
    """Judge by characters, then by bytes, which is what an ASCII database counts."""
    return lambda text: (max(0, len(text or "") - limit), len((text or "").encode()))


def _key_badness(key: str | None) -> tuple[int, int]:
    return (MAX_JOB_KEY, 0) if key == "" else _excess(MAX_JOB_KEY)(key)


def _shortage(attempts: int | None) -> int:
    return -25 if attempts is None else -attempts


_RULES = (
    _Rule("tasks_identifier_check", TaskIdentifierTooLong, "task", MAX_IDENTIFIER,
          lambda job: job.task, _excess(MAX_IDENTIFIER)),
    _Rule("job_queues_queue_name_check", QueueNameTooLong, "queue_name", MAX_QUEUE_NAME,
          lambda job: job.spec.queue_name, _excess(MAX_QUEUE_NAME)),
    _Rule("jobs_key_check", JobKeyTooLong, "job_key", MAX_JOB_KEY,
          lambda job: job.spec.job_key, _key_badness),
    _Rule("jobs_max_attempts_check", InvalidMaxAttempts, "max_attempts", SMALLINT_MAX,
          lambda job: job.spec.max_attempts, _shortage),
    _Rule("GWBKM", InvalidJobKeyMode, "job_key_mode", get_args(JobKeyMode),
          lambda job: job.spec.job_key_mode, lambda mode: mode not in get_args(JobKeyMode)),
)  # fmt: skip


def facts(error: BaseException) -> Facts:
    """Return what PostgreSQL said, from the exception or from what caused it.

    >>> facts(OSError("gone"))
    Facts(sqlstate='', constraint='', message='gone')
    """
    source = error
    for cause in _causes(error):
        if _sqlstate(cause):
            source = cause
    diagnosis = getattr(source, "diag", source)
    message = getattr(diagnosis, "message_primary", None) or (source.args or ("",))[0]
    return Facts(_sqlstate(source), getattr(diagnosis, "constraint_name", None) or "", str(message))


def refusal(error: BaseException, schema: str) -> KongTaskError | None:
    """Return the package's error for what PostgreSQL answered, or None when it has none."""
    said = facts(error)
    for rule in _RULES:
        if rule.name in (said.constraint, said.sqlstate):
            return rule.kind(said.message, field=rule.field, limit=rule.limit)
    if said.sqlstate == _CHECK_VIOLATED:
        return InvalidJob(said.message)
    if said.sqlstate == _NUMBER_TOO_LARGE:
        return InvalidJob(f"a number is too large for its column: {said.message}")
    if said.sqlstate.startswith(_CANNOT_HOLD) or said.sqlstate in _TOO_MUCH:
        return InvalidJob(f"PostgreSQL cannot hold a value: {said.message}")
    if said.sqlstate == _MAY_NOT:
        return DatabaseRefused(
            f"this role may not do it ({said.message}): connect as another, or let the owner of "
            f'schema "{schema}" run what `kongtask roles` prints',
            reason="PermissionDenied",
        )
    if said.sqlstate in _SCHEMA_MISSING:
        return ConfigurationError(
            f'schema "{schema}" does not hold the tables of this version ({said.message}): '
            f"run `kongtask migrate -s {schema}`"
        )
    if said.sqlstate in _PREPARED_ELSEWHERE:
        return ConfigurationError(
            "a pooler in transaction mode stands before PostgreSQL, where a prepared statement is "
            "not found again: give the asyncpg pool statement_cache_size=0 (psycopg: "
            "prepare_threshold=None), and start workers with --no-listen"
        )
    if said.sqlstate in _LOST or said.sqlstate.startswith(_LOST_CLASS):
        return lost(said.message)
    return None


def lost(reason: object) -> StoreUnavailable:
    """Return the error for a connection that is no more."""
    return StoreUnavailable(f"the connection to PostgreSQL was lost: {reason}")


def located(error: InvalidJob, jobs: Sequence[WantedJob]) -> InvalidJob:
    """Return the error with the value and the place of the job that PostgreSQL refused."""
    rule = next((rule for rule in _RULES if rule.kind is type(error)), None)
    if rule is None or error.__cause__ is None:
        return error
    job = max(jobs, key=lambda job: rule.badness(rule.value(job)))
    value = rule.value(job)
    shown = repr(value[:40] if isinstance(value, str) else value)
    return rule.kind(
        f"PostgreSQL refused {rule.field} {shown}: {facts(error.__cause__).message}",
        field=rule.field, value=value, limit=rule.limit, position=job.position,
    )  # fmt: skip


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    for _ in range(8):
        if cause is None:
            return
        yield cause
        cause = cause.__cause__


def _sqlstate(error: BaseException) -> str:
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    return state if isinstance(state, str) else ""
