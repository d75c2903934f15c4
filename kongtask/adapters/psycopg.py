"""Adding jobs inside a transaction of psycopg 3 (3.2 or later).

    with psycopg.connect(url) as connection:
        connection.execute("insert into orders ...")
        add_job(connection, "charge", {"order": 1})

On an `AsyncConnection` the same functions are awaited. A job that Python refuses was never sent,
and the transaction goes on. When PostgreSQL refuses one in `add_job`, the transaction has failed,
as after any failed statement: roll it back, or add the job in a `connection.transaction()` block of
its own. `add_jobs` undoes what it sent, and a transaction that was open goes on. On a connection
in autocommit mode, outside a `transaction()` block, they commit by themselves.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, TypeAlias, overload

from psycopg import AsyncConnection, AsyncRawCursor, Connection, Error, OperationalError, RawCursor
from psycopg.pq import TransactionStatus
from psycopg.rows import scalar_row

from kongtask.adapters.door import at_once, completed, has_no_answer, tracing_to, translated
from kongtask.adapters.json_rows import numbered, rows
from kongtask.core.job import Job
from kongtask.core.new_job import NewJob
from kongtask.core.task_spec import TaskSpec
from kongtask.postgres.adding import Rows, Sender, add_many, add_one, at_its_ends
from kongtask.postgres.statements import DEFAULT_SCHEMA
from kongtask.tracing import Tracing

__all__ = ["add_job", "add_jobs"]

AnyConnection: TypeAlias = Connection[Any] | AsyncConnection[Any]


@overload
def add_job(
    connection: Connection[Any],
    task: str,
    payload: object = None,
    spec: TaskSpec | None = None,
    *,
    schema: str = DEFAULT_SCHEMA,
) -> Job: ...


@overload
def add_job(
    connection: AsyncConnection[Any],
    task: str,
    payload: object = None,
    spec: TaskSpec | None = None,
    *,
    schema: str = DEFAULT_SCHEMA,
) -> Coroutine[Any, Any, Job]: ...


def add_job(
    connection: AnyConnection,
    task: str,
    payload: object = None,
    spec: TaskSpec | None = None,
    *,
    schema: str = DEFAULT_SCHEMA,
) -> Job | Coroutine[Any, Any, Job]:
    """Add one job in the connection's transaction and return it; raises `InvalidJob`."""
    sender = _sender(connection, schema)
    work = add_one(sender, _tracing(connection), task, payload, spec)
    return work if isinstance(connection, AsyncConnection) else completed(work)


@overload
def add_jobs(
    connection: Connection[Any],
    jobs: Iterable[NewJob],
    *,
    schema: str = DEFAULT_SCHEMA,
    return_jobs: bool = True,
) -> list[Job]: ...


@overload
def add_jobs(
    connection: AsyncConnection[Any],
    jobs: Iterable[NewJob],
    *,
    schema: str = DEFAULT_SCHEMA,
    return_jobs: bool = True,
) -> Coroutine[Any, Any, list[Job]]: ...


def add_jobs(
    connection: AnyConnection,
    jobs: Iterable[NewJob],
    *,
    schema: str = DEFAULT_SCHEMA,
    return_jobs: bool = True,
) -> list[Job] | Coroutine[Any, Any, list[Job]]:
    """Add jobs as (task, payload, spec), all or none; return them in the order given.

    With `return_jobs=False` the list is empty, and memory does not grow with their number.
    """
    sender = _sender(connection, schema)
    work = add_many(sender, _tracing(connection), jobs, return_jobs=return_jobs)
    return work if isinstance(connection, AsyncConnection) else completed(work)


def _sender(connection: AnyConnection, schema: str) -> Sender:
    if isinstance(connection, AsyncConnection):
        return _AsyncSender(connection, schema)
    if isinstance(connection, Connection):
        return _BlockingSender(connection, schema)
    raise TypeError(
        "jobs are added over a psycopg Connection or AsyncConnection, "
        f"got {type(connection).__qualname__}"
    )


def _tracing(connection: AnyConnection) -> Tracing:
    try:
        return tracing_to(connection.info.host, connection.info.port)
    except OperationalError:  # closed: adding the job will say so
        return tracing_to(None, None)


class _BlockingSender:
    def __init__(self, connection: Connection[Any], schema: str) -> None:
        self._connection = connection
        self._schema = schema
        self._translated = partial(translated, schema, Error, _is_lost)

    async def fetch(self, name: str, arguments: tuple[object, ...]) -> Rows:
        query = numbered(name, self._schema)
        with self._translated(), RawCursor(self._connection, row_factory=scalar_row) as cursor:
            return rows(cursor.execute(query, arguments).fetchall())

    @asynccontextmanager
    async def all_or_none(self) -> AsyncIterator[_BlockingSender]:
        block = _fresh(self._connection)
        if not _is_fresh(self._connection):
            block = self._connection.transaction()
        async with at_its_ends(at_once(block), self._translated):
            yield self


class _AsyncSender:
    def __init__(self, connection: AsyncConnection[Any], schema: str) -> None:
        self._connection = connection
        self._schema = schema
        self._translated = partial(translated, schema, Error, _is_lost)

    async def fetch(self, name: str, arguments: tuple[object, ...]) -> Rows:
        query = numbered(name, self._schema)
        with self._translated():
            async with AsyncRawCursor(self._connection, row_factory=scalar_row) as cursor:
                await cursor.execute(query, arguments)
                return rows(await cursor.fetchall())

    @asynccontextmanager
    async def all_or_none(self) -> AsyncIterator[_AsyncSender]:
        block = _fresh_async(self._connection)
        if not _is_fresh(self._connection):
            block = self._connection.transaction()
        async with at_its_ends(block, self._translated):
            yield self


def _is_lost(error: Error) -> bool:
    return isinstance(error, OperationalError) and has_no_answer(error)


def _is_fresh(connection: AnyConnection) -> bool:
    """Whether the first statement begins the caller's transaction, which no block may end."""
    idle = connection.info.transaction_status is TransactionStatus.IDLE
    return idle and not connection.autocommit


@contextmanager
def _fresh(connection: Connection[Any]) -> Iterator[object]:
    """Undo the transaction that the block began, when it fails: nothing else is in it."""
    try:
        yield connection
    except BaseException:
        connection.rollback()
        raise


@asynccontextmanager
async def _fresh_async(connection: AsyncConnection[Any]) -> AsyncIterator[object]:
    try:
        yield connection
    except BaseException:
        await connection.rollback()
        raise
