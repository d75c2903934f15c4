"""How jobs are added, said once for every driver: which statements, and what their rows become.

It knows no driver: a `Sender` sends the statements. A sender that blocks is written as coroutines
that never wait, and so these functions serve callers with and without an event loop.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from itertools import chain
from typing import Any, Generic, Protocol, Self, TypeAlias, TypeVar

from kongtask.core.bulk import ONE_BY_ONE, by_mode, is_plain, matched, rows_json
from kongtask.core.job import Job
from kongtask.core.new_job import NewJob, WantedJob, wanted_chunks, wanted_job
from kongtask.core.task_spec import TaskSpec
from kongtask.core.trace_context import TraceContext
from kongtask.errors import InvalidJob, StoreUnavailable
from kongtask.postgres.records import job_from_record
from kongtask.postgres.refusals import located
from kongtask.tracing import Tracing

RACES = 10
"""How often a job with a key is added again after a race lost it."""

Rows: TypeAlias = Sequence[Mapping[str, Any]]
Entered = TypeVar("Entered")
Piece = TypeVar("Piece")


class Sender(Protocol):
    """Sends statements to one schema over somebody's connection."""

    async def fetch(self, name: str, arguments: tuple[object, ...]) -> Rows:
        """Run `sql/queries/<name>.sql`; raises the package's errors."""

    def all_or_none(self) -> AbstractAsyncContextManager[Self]:
        """Begin what is undone as a whole when its block fails, inside the caller's transaction."""


async def add_one(
    sender: Sender, tracing: Tracing, task: str, payload: object, spec: TaskSpec | None
) -> Job:
    """Add one job and return it; raises `InvalidJob` before anything is sent."""
    wanted = wanted_job(task, payload, spec)
    with tracing.adding([task], wanted.spec) as adding:
        job = await _add(sender, wanted, adding.context)
        adding.added([job.id])
        return job


async def add_many(
    sender: Sender, tracing: Tracing, jobs: Iterable[NewJob], *, return_jobs: bool
) -> list[Job]:
    """Add jobs chunk by chunk, all or none; return them in the order given, or an empty list.

    Where the jobs are a list or a tuple, a chunk is made ready while the one before is on its way.
    """
    chunks = wanted_chunks(jobs)
    first = next(chunks, None)
    if first is None:
        return []
    kept: list[Job] = []
    ids = array("q")
    with tracing.adding([each.task for each in first], None) as adding:
        ready = _Ahead(_ready(chain([first], chunks), return_jobs))
        del first  # so that it goes when it has been sent
        async with sender.all_or_none() as inside:
            for chunk, rows in ready:
                with ready.meanwhile() if isinstance(jobs, list | tuple) else nullcontext():
                    if rows is not None:
                        ids.extend(await _add_plain(inside, chunk, rows, adding.context))
                        continue
                    added = await _add_chunk(inside, chunk, adding.context)
                ids.extend(job.id for job in added)
                kept += added if return_jobs else ()
        adding.added(ids)
        return kept


def _ready(
    chunks: Iterable[list[WantedJob]], return_jobs: bool
) -> Iterator[tuple[list[WantedJob], str | None]]:
    """Yield each chunk with its rows as JSON, if one plain statement takes all of it."""
    for chunk in chunks:
        yield chunk, None if return_jobs or not is_plain(chunk) else rows_json(chunk)


@asynccontextmanager
async def at_its_ends(
    block: AbstractAsyncContextManager[Entered],
    translated: Callable[[], AbstractContextManager[None]],
) -> AsyncIterator[Entered]:
    """Translate what entering and leaving the block raise, but not what is raised inside it."""
    with translated():
        entered = await block.__aenter__()
    try:
        yield entered
    except BaseException as error:
        with translated():
            await block.__aexit__(type(error), error, error.__traceback__)
        raise
    with translated():
        await block.__aexit__(None, None, None)


async def _add(sender: Sender, job: WantedJob, context: TraceContext) -> Job:
    spec = job.spec
    arguments = (
        job.task, job.payload_json, spec.queue_name, spec.run_at, spec.max_attempts, spec.job_key,
        spec.priority, None if spec.flags is None else list(spec.flags), spec.job_key_mode,
        context.traceparent, context.tracestate,
    )  # fmt: skip
    for _ in range(RACES):
        (row,) = await _fetch(sender, "add_job", arguments, [job])
        if row["id"] is not None:
            return job_from_record(row, task_identifier=job.task, queue_name=spec.queue_name)
    raise StoreUnavailable(
        f"the job with key {spec.job_key!r} could not be added {RACES} times in a row because "
        "others add and run it at the same moment: try again"
    )


async def _add_chunk(sender: Sender, chunk: list[WantedJob], context: TraceContext) -> list[Job]:
    added: dict[int | None, Job] = {}
    for mode, group in by_mode(chunk).items():
        found: Sequence[Job | None] = [None] * len(group)
        if mode != ONE_BY_ONE:
            found = matched(group, await _add_group(sender, mode, group, context))
        for wanted, job in zip(group, found, strict=True):
            # What a race lost is added again by itself.
            added[wanted.position] = job or await _add(sender, wanted, context)
    return [added[wanted.position] for wanted in chunk]


async def _add_plain(
    sender: Sender, chunk: list[WantedJob], rows: str, context: TraceContext
) -> list[int]:
    arguments = (rows, context.traceparent, context.tracestate)
    return [row["id"] for row in await _fetch(sender, "add_jobs_plain", arguments, chunk)]


async def _add_group(
    sender: Sender, mode: str, group: list[WantedJob], context: TraceContext
) -> list[Job]:
    arguments = (
        rows_json(group), mode == "preserve_run_at", context.traceparent, context.tracestate
    )  # fmt: skip
    return [job_from_record(row) for row in await _fetch(sender, "add_jobs", arguments, group)]


async def _fetch(
    sender: Sender, name: str, arguments: tuple[object, ...], jobs: Sequence[WantedJob]
) -> Rows:
    try:
        return await sender.fetch(name, arguments)
    except InvalidJob as error:
        raise located(error, jobs) from error.__cause__


class _Ahead(Iterator[Piece], Generic[Piece]):
    """Hands out pieces of work in order, and makes the next while one waits for the database.

    They must not depend on which task or thread makes them.

    >>> pieces = _Ahead(iter("ab"))
    >>> with pieces.meanwhile():  # no event loop turns here: nothing is made before it is asked
    ...     next(pieces), next(pieces), next(pieces, None)
    ('a', 'b', None)
    """

    def __init__(self, pieces: Iterator[Piece]) -> None:
        self._pieces = pieces
        self._made: list[Piece | Exception] = []

    def __next__(self) -> Piece:
        self._make()
        made = self._made.pop()
        if isinstance(made, Exception):
            raise made
        return made

    @contextmanager
    def meanwhile(self) -> Iterator[None]:
        """Have the event loop, where one turns, make the next piece when the block has to wait."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        handle = None if loop is None else loop.call_soon(self._make)
        try:
            yield
        finally:
            if handle is not None:
                handle.cancel()

    def _make(self) -> None:
        if not self._made:
            try:
                self._made.append(next(self._pieces))
            except Exception as error:  # the end as well: whoever asks for the piece is told
                self._made.append(error)
