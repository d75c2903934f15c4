"""A job that is to be added, checked, before any database knows of it.

It refuses to hold more of a long iterable than one chunk: whoever sends the jobs asks for the next
when there is use for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from kongtask.core.task_spec import DEFAULT_SPEC, TaskSpec, check_job
from kongtask.errors import InvalidJob, shown

NewJob = tuple[str, object, TaskSpec | None]
"""A task identifier, a payload and its options."""

CHUNK_JOBS = 1_000
"""How many jobs one statement adds."""

CHUNK_CHARACTERS = 16_000_000
"""How much JSON one statement carries; a payload that is longer goes by itself."""

MOST_REMEMBERED = 1000
_good_tasks: set[str] = set()
"""Task identifiers that were checked before, so many at most: adding many jobs repeats few."""


class WantedJob(NamedTuple):
    """A job that keeps the rules, and its place among those that are added together."""

    task: str
    payload_json: str
    spec: TaskSpec
    position: int | None = None


_as_json = json.JSONEncoder(allow_nan=False).encode


def wanted_job(
    task: str, payload: object, spec: TaskSpec | None, position: int | None = None
) -> WantedJob:
    """Return the job to add; raises `InvalidJob`.

    >>> wanted_job("mail", None, None).payload_json
    '{}'
    """
    spec = DEFAULT_SPEC if spec is None else spec
    if spec is not DEFAULT_SPEC or type(task) is not str or task not in _good_tasks:
        check_job(task, spec, position)
        if len(_good_tasks) < MOST_REMEMBERED:
            _good_tasks.add(task)
    return WantedJob(task, _payload_json(payload, position), spec, position)


def wanted_chunks(jobs: Iterable[NewJob]) -> Iterator[list[WantedJob]]:
    """Yield the jobs in chunks of one statement each; positions count from the first of all."""
    chunk: list[WantedJob] = []
    characters = 0
    for wanted in _wanted_jobs(jobs):
        if chunk and characters + len(wanted.payload_json) > CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
        chunk.append(wanted)
        characters += len(wanted.payload_json)
        if len(chunk) == CHUNK_JOBS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def payload_from(text: str) -> object:
    """Return the payload that somebody typed; raises `InvalidJob`, also for NaN and Infinity.

    >>> payload_from('{"to": "ann"}')
    {'to': 'ann'}
    """
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise InvalidJob(
            f"the payload is not JSON ({_reason(error)}), got {text[:60]!r}: "
            """write it for the shell as '{"key": "value"}'""",
            field="payload", value=type(text).__name__,
        ) from error  # fmt: skip


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _wanted_jobs(jobs: Iterable[NewJob]) -> Iterator[WantedJob]:
    if not isinstance(jobs, Iterable):
        raise InvalidJob(f"jobs must be a list of (task, payload, spec), got {shown(jobs)}")
    places: dict[str, int] = {}
    for position, job in enumerate(jobs):
        if not isinstance(job, tuple | list) or len(job) != 3:
            raise InvalidJob(
                f"a job must be (task, payload, spec), got {shown(type(job))}",
                field="job", value=type(job).__name__, position=position,
            )  # fmt: skip
        wanted = wanted_job(*job, position)
        key = wanted.spec.job_key
        if key is not None and places.setdefault(key, position) != position:
            raise InvalidJob(
                f"job_key {key!r} is given twice, in jobs {places[key]} and {position}: "
                "keep one of them",
                field="job_key", value=key, position=position,
            )  # fmt: skip
        yield wanted


def _payload_json(payload: object, position: int | None) -> str:
    """Return the payload as JSON text; None is an empty object, as Graphile Worker has it."""
    try:
        return _as_json({} if payload is None else payload)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidJob(
            f"payload is not JSON ({_reason(error)}): use dicts, lists, strings, numbers, "
            "booleans and None",
            field="payload", value=type(payload).__name__, position=position,
        ) from error  # fmt: skip


def _reason(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)
