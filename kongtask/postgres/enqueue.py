"""Adding jobs through Graphile Worker's own functions, one or many at a time.

Works on a pool or inside a caller's transaction on a connection: then the job exists if and only
if that transaction commits.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

import asyncpg

from kongtask.core.job import Job
from kongtask.core.task_spec import DEFAULT_SPEC, TaskSpec, check_job
from kongtask.errors import InvalidJob, StoreUnavailable
from kongtask.postgres.records import job_from_record, translated_statement
from kongtask.postgres.statements import statement
from kongtask.tracing import TraceContext, Tracing

Executor: TypeAlias = Any
"""An asyncpg pool, or a connection that may be inside a transaction."""

NewJob = tuple[str, object, TaskSpec | None]
"""A task identifier, a payload and its options."""

ONE_BY_ONE = "one by one"
"""The jobs for which the database has no function that takes many."""

_NO_TEXT = re.compile(
    r"\\u(?:0000|d[89ab][0-9a-f]{2}(?!\\ud[c-f])|(?<!\\ud[89ab][0-9a-f]{2}\\u)d[c-f][0-9a-f]{2})"
)
"""JSON escapes that stand for no text, NUL and lone surrogates; `add_jobs` unfolds them all."""

RACES = 10
"""How often a job is added again after Graphile Worker's functions lost it in a race."""


def payload_text(payload: object, position: int | None = None) -> str:
    """Return the payload as JSON text; None is an empty object, as Graphile Worker has it."""
    try:
        return json.dumps({} if payload is None else payload, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidJob(
            f"payload is not JSON ({error}): use dicts, lists, strings, numbers, booleans and None",
            field="payload", value=type(payload).__name__, position=position,
        ) from error  # fmt: skip


class JobQueue:
    """The door through which jobs enter one schema."""

    def __init__(self, executor: Executor, schema: str, tracing: Tracing | None = None) -> None:
        self._executor = executor
        self.schema = schema
        self._tracing = tracing or Tracing()

    async def add_job(
        self,
        task: str,
        payload: object = None,
        spec: TaskSpec | None = None,
        *,
        connection: Executor | None = None,
    ) -> Job:
        """Add one job and return it; raises `InvalidJob` before anything is sent."""
        spec = spec or DEFAULT_SPEC
        check_job(task, spec)
        text = payload_text(payload)
        with self._tracing.adding([task], spec) as adding:
            executor = connection or self._executor
            job = await self._add_one(executor, task, text, spec, adding.context)
            adding.added([job.id])
            return job

    async def add_jobs(
        self, jobs: Sequence[NewJob], *, connection: Executor | None = None
    ) -> list[Job]:
        """Add many jobs, all or none, and return them in the order given."""
        specs = [(task, payload, spec or DEFAULT_SPEC) for task, payload, spec in jobs]
        _check_bulk(specs)
        if not specs:
            return []
        tasks = [task for task, _, _ in specs]
        with self._tracing.adding(tasks, None) as adding:
            if connection is not None or not isinstance(self._executor, asyncpg.Pool):
                executor = connection or self._executor
                added = await self._add_many(executor, specs, adding.context)
            else:
                with translated_statement(self.schema):
                    async with self._executor.acquire() as one:
                        added = await self._add_many(one, specs, adding.context)
            adding.added([job.id for job in added])
            return added

    async def _add_one(
        self, executor: Executor, task: str, text: str, spec: TaskSpec, context: TraceContext
    ) -> Job:
        arguments = (
            task, text, spec.queue_name, spec.run_at, spec.max_attempts, spec.job_key,
            spec.priority, None if spec.flags is None else list(spec.flags), spec.job_key_mode,
            context.traceparent, context.tracestate,
        )  # fmt: skip
        for _ in range(RACES):
            with translated_statement(self.schema):
                row = await executor.fetchrow(statement("add_job", self.schema), *arguments)
            if row["id"] is not None:
                return job_from_record(row, task_identifier=task, queue_name=spec.queue_name)
        raise StoreUnavailable(
            f"the job with key {spec.job_key!r} could not be added {RACES} times in a row because "
            "others add and run it at the same moment: try again"
        )

    async def _add_many(
        self, connection: Executor, specs: list[tuple[str, object, TaskSpec]], context: TraceContext
    ) -> list[Job]:
        texts = [payload_text(payload, place) for place, (_, payload, _) in enumerate(specs)]
        added: dict[int, Job] = {}
        async with connection.transaction():
            for mode, places in _by_mode(specs, texts).items():
                batch = [_Wanted(at, specs[at][0], texts[at], specs[at][2]) for at in places]
                found = await self._batch(connection, mode, batch, context)
                for each in batch:
                    added[each.at] = found.get(each.at) or await self._add_one(
                        connection, each.task, each.text, each.spec, context
                    )
        return [added[at] for at in range(len(specs))]

    async def _batch(
        self, connection: Executor, mode: str, batch: list[_Wanted], context: TraceContext
    ) -> dict[int, Job]:
        """Add jobs of one key mode; return them by place, without those lost in a race."""
        if mode == ONE_BY_ONE:
            return {}
        rows = "[" + ",".join(_as_row(each) for each in batch) + "]"
        with translated_statement(self.schema):
            records = await connection.fetch(
                statement("add_jobs", self.schema),
                rows, mode == "preserve_run_at", context.traceparent, context.tracestate,
            )  # fmt: skip
            names = await connection.fetch(
                statement("names_of_ids", self.schema),
                list({each["task_id"] for each in records}),
                list({each["job_queue_id"] for each in records} - {None}),
            )
        known = {(each["is_queue"], each["id"]): each["name"] for each in names}
        return _matched(batch, [_named(each, known) for each in records])


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One job of many that are added, and its place among them."""

    at: int
    task: str
    text: str
    spec: TaskSpec


def _named(record: Any, known: dict[tuple[bool, int], str]) -> Job:
    row = dict(record)
    queue = row.pop("job_queue_id")
    task, queue_name = known[False, row["task_id"]], known.get((True, queue))
    return job_from_record(row, task_identifier=task, queue_name=queue_name)


def _matched(batch: list[_Wanted], jobs: list[Job]) -> dict[int, Job]:
    """Find for each spec the row it became: the database answers in no particular order."""
    by_key = {job.key: job for job in jobs if job.key is not None}
    others: dict[object, deque[Job]] = defaultdict(deque)
    for job in sorted(jobs, key=lambda job: job.id):
        if job.key is None:
            others[_fingerprint(job)].append(job)
    now = max((job.created_at for job in jobs), default=None)
    found: dict[int, Job] = {}
    for each in batch:
        if each.spec.job_key is None:
            found[each.at] = others[_wanted_fingerprint(each, now)].popleft()
        elif each.spec.job_key in by_key:
            found[each.at] = by_key[each.spec.job_key]
    return found


def _fingerprint(job: Job) -> object:
    """What tells unkeyed jobs of one call apart; equal ones may stand for each other."""
    return (
        job.task_identifier, job.payload_json, job.queue_name, job.priority,
        job.max_attempts, job.flags, None if job.run_at == job.created_at else job.run_at,
    )  # fmt: skip


def _wanted_fingerprint(each: _Wanted, now: datetime | None) -> object:
    spec = each.spec
    run_at = None if spec.run_at == now else spec.run_at
    return (
        each.task, each.text, spec.queue_name, spec.priority or 0,
        25 if spec.max_attempts is None else spec.max_attempts,
        tuple(sorted(set(spec.flags or ()))), run_at,
    )  # fmt: skip


def _as_row(each: _Wanted) -> str:
    options = each.spec
    fields = {
        "identifier": each.task,
        "queue_name": options.queue_name,
        "run_at": None if options.run_at is None else options.run_at.isoformat(),
        "max_attempts": options.max_attempts,
        "job_key": options.job_key,
        "priority": options.priority,
        "flags": None if options.flags is None else list(options.flags),
    }
    return json.dumps(fields)[:-1] + f', "payload": {each.text}}}'


def _by_mode(
    specs: list[tuple[str, object, TaskSpec]], texts: Sequence[str]
) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = defaultdict(list)
    for at, (_, _, spec) in enumerate(specs):
        mode = (spec.job_key_mode or "replace") if spec.job_key is not None else "replace"
        alone = mode == "unsafe_dedupe" or _is_rewritten(texts[at])
        groups[ONE_BY_ONE if alone else mode].append(at)
    return groups


def _is_rewritten(text: str) -> bool:
    """Whether `add_jobs` would refuse the payload, or store it with other escapes."""
    return bool(_NO_TEXT.search(text)) or (text[0] == '"' and "\\" in text)


def _check_bulk(specs: list[tuple[str, object, TaskSpec]]) -> None:
    seen: dict[str, int] = {}
    for at, (task, _, spec) in enumerate(specs):
        check_job(task, spec, at)
        if spec.job_key is None:
            continue
        if spec.job_key in seen:
            raise InvalidJob(
                f"job_key {spec.job_key!r} is given twice, in jobs {seen[spec.job_key]} and {at}: "
                "keep one of them",
                field="job_key", value=spec.job_key, position=at,
            )  # fmt: skip
        seen[spec.job_key] = at
