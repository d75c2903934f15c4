"""What one call of Graphile Worker's `add_jobs` is given, and whose row is whose in its answer.

It refuses to decide what that function cannot do: such jobs are named, and added one by one.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache

from kongtask.core.job import Job
from kongtask.core.new_job import WantedJob
from kongtask.core.task_spec import DEFAULT_SPEC

ONE_BY_ONE = "one by one"
"""The jobs for which the database has no function that takes many."""

_NO_TEXT = re.compile(
    r"\\u(?:0000|d[89ab][0-9a-f]{2}(?!\\ud[c-f])|(?<!\\ud[89ab][0-9a-f]{2}\\u)d[c-f][0-9a-f]{2})"
)
"""JSON escapes that stand for no text, NUL and lone surrogates; `add_jobs` unfolds them all."""


def by_mode(jobs: Iterable[WantedJob]) -> dict[str, list[WantedJob]]:
    """Group the jobs by what one call can take: a key mode, or `ONE_BY_ONE`."""
    groups: dict[str, list[WantedJob]] = defaultdict(list)
    for job in jobs:
        mode = (job.spec.job_key_mode or "replace") if job.spec.job_key is not None else "replace"
        alone = mode == "unsafe_dedupe" or _is_rewritten(job.payload_json)
        groups[ONE_BY_ONE if alone else mode].append(job)
    return groups


def is_plain(jobs: Iterable[WantedJob]) -> bool:
    """Whether one call can take all of them, and none has a key."""
    return not any(job.spec.job_key is not None or _is_rewritten(job.payload_json) for job in jobs)


def rows_json(jobs: Iterable[WantedJob]) -> str:
    """Return the jobs as a JSON array of rows of `job_spec`."""
    return "[" + ",".join(_row_json(job) for job in jobs) + "]"


def matched(wanted: Sequence[WantedJob], jobs: Sequence[Job]) -> list[Job | None]:
    """Return the row that each job became, or None: the database answers in no particular order."""
    by_key = {job.key: job for job in jobs if job.key is not None}
    others: dict[object, deque[Job]] = defaultdict(deque)
    for job in sorted(jobs, key=lambda job: job.id):
        if job.key is None:
            others[_fingerprint(job)].append(job)
    now = max((job.created_at for job in jobs), default=None)
    return [
        others[_wanted_fingerprint(each, now)].popleft()
        if each.spec.job_key is None
        else by_key.get(each.spec.job_key)
        for each in wanted
    ]


def _row_json(job: WantedJob) -> str:
    options, run_at = job.spec, job.spec.run_at
    if options is DEFAULT_SPEC:
        return f"{_head(job.task)}{job.payload_json}}}"
    fields = {
        "identifier": job.task,
        "queue_name": options.queue_name,
        "run_at": None if run_at is None else run_at.astimezone(UTC).isoformat(),
        "max_attempts": options.max_attempts,
        "job_key": options.job_key,
        "priority": options.priority,
        "flags": None if options.flags is None else list(options.flags),
    }
    return json.dumps(fields)[:-1] + f', "payload": {job.payload_json}}}'


@lru_cache(maxsize=256)
def _head(task: str) -> str:
    return f'{{"identifier": {json.dumps(task)}, "payload": '


def _fingerprint(job: Job) -> object:
    """What tells unkeyed jobs of one call apart; equal ones may stand for each other."""
    return (
        job.task_identifier, job.payload_json, job.queue_name, job.priority,
        job.max_attempts, job.flags, None if job.run_at == job.created_at else job.run_at,
    )  # fmt: skip


def _wanted_fingerprint(wanted: WantedJob, now: datetime | None) -> object:
    spec = wanted.spec
    run_at = None if spec.run_at == now else spec.run_at
    return (
        wanted.task, wanted.payload_json, spec.queue_name, spec.priority or 0,
        25 if spec.max_attempts is None else spec.max_attempts,
        tuple(sorted(set(spec.flags or ()))), run_at,
    )  # fmt: skip


def _is_rewritten(text: str) -> bool:
    """Whether `add_jobs` would refuse the payload, or store it with other escapes."""
    return "\\" in text and (text[0] == '"' or bool(_NO_TEXT.search(text)))
