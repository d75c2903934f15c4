"""Adding jobs inside a transaction of SQLAlchemy 2, over any of its drivers for PostgreSQL.

    with Session(engine) as session, session.begin():
        session.add(Order(...))
        add_job(session, "charge", {"order": 1})

It takes a `Connection`, a `Session` or a `scoped_session`; on an `AsyncConnection`, `AsyncSession`
or `async_scoped_session` the same functions are awaited. A session is not flushed. A job that
Python refuses was never sent, and the transaction goes on. When PostgreSQL refuses one in
`add_job`, the transaction has failed, as after any failed statement: roll it back, or add the job
inside a `begin_nested()` block. `add_jobs` undoes what it sent, and the transaction goes on. With
the isolation level AUTOCOMMIT they commit by themselves.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, TypeAlias, TypeVar, overload

from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session

from kongtask.adapters.door import at_once, completed, has_no_answer, tracing_to, translated
from kongtask.adapters.json_rows import numbered, positional, rows
from kongtask.core.job import Job
from kongtask.core.new_job import NewJob
from kongtask.core.task_spec import TaskSpec
from kongtask.errors import ConfigurationError
from kongtask.postgres.adding import Rows, Sender, add_many, add_one, at_its_ends
from kongtask.postgres.statements import DEFAULT_SCHEMA, statement_text
from kongtask.tracing import Tracing

__all__ = ["add_job", "add_jobs"]

Blocking: TypeAlias = Connection | Session | scoped_session[Any]
Awaited: TypeAlias = AsyncConnection | AsyncSession | async_scoped_session[Any]
Result = TypeVar("Result")
Adding: TypeAlias = Callable[[Sender, Tracing], Coroutine[Any, Any, Result]]


@overload
def add_job(
    connection: Blocking,
    task: str,
    payload: object = None,
    spec: TaskSpec | None = None,
    *,
    schema: str = DEFAULT_SCHEMA,
) -> Job: ...


@overload
def add_job(
    connection: Awaited,
    task: str,
    payload: object = None,
    spec: TaskSpec | None = None,
    *,
    schema: str = DEFAULT_SCHEMA,
) -> Coroutine[Any, Any, Job]: ...


def add_job(
    connection: Blocking | Awaited,
    task: str,
    payload: object = None,
    spec: TaskSpec | None = None,
    *,
    schema: str = DEFAULT_SCHEMA,
) -> Job | Coroutine[Any, Any, Job]:
    """Add one job in the transaction and return it; raises `InvalidJob`."""
    return _work(
        connection, schema, lambda sender, tracing: add_one(sender, tracing, task, payload, spec)
    )


@overload
def add_jobs(
    connection: Blocking,
    jobs: Iterable[NewJob],
    *,
    schema: str = DEFAULT_SCHEMA,
    return_jobs: bool = True,
) -> list[Job]: ...


@overload
def add_jobs(
    connection: Awaited,
    jobs: Iterable[NewJob],
    *,
    schema: str = DEFAULT_SCHEMA,
    return_jobs: bool = True,
) -> Coroutine[Any, Any, list[Job]]: ...


def add_jobs(
    connection: Blocking | Awaited,
    jobs: Iterable[NewJob],
    *,
    schema: str = DEFAULT_SCHEMA,
    return_jobs: bool = True,
) -> list[Job] | Coroutine[Any, Any, list[Job]]:
    """Add jobs as (task, payload, spec), all or none; return them in the order given.

    With `return_jobs=False` the list is empty, and memory does not grow with their number.
    """
    return _work(
        connection,
        schema,
        lambda sender, tracing: add_many(sender, tracing, jobs, return_jobs=return_jobs),
    )


def _work(
    given: Blocking | Awaited, schema: str, adding: Adding[Result]
) -> Result | Coroutine[Any, Any, Result]:
    if isinstance(given, scoped_session | async_scoped_session):
        given = given()
    if isinstance(given, AsyncConnection | AsyncSession):
        return given.run_sync(_done, schema, adding)
    if isinstance(given, Connection | Session):
        return _done(given, schema, adding)
    raise TypeError(
        f"jobs are added over an SQLAlchemy connection or session, got {type(given).__qualname__}"
    )


def _done(given: Connection | Session, schema: str, adding: Adding[Result]) -> Result:
    with _translated(schema):
        connection = given.connection() if isinstance(given, Session) else given
    if connection.dialect.name != "postgresql":
        raise ConfigurationError(
            f"jobs are kept in PostgreSQL and this connection speaks {connection.dialect.name}: "
            "add them over a connection to the database that holds them"
        )
    url = connection.engine.url
    return completed(adding(_Sender(connection, schema), tracing_to(url.host, url.port)))


class _Sender:
    def __init__(self, connection: Connection, schema: str) -> None:
        self._connection = connection
        self._schema = schema

    async def fetch(self, name: str, arguments: tuple[object, ...]) -> Rows:
        if self._connection.dialect.paramstyle.startswith("numeric"):
            text = numbered(name, self._schema)
        else:
            text, arguments = positional(name, self._schema, arguments)
        with _translated(self._schema):
            return rows(self._connection.exec_driver_sql(text, arguments).scalars())

    @asynccontextmanager
    async def all_or_none(self) -> AsyncIterator[_Sender]:
        own = _is_autocommit(self._connection)
        block = _transaction(self._connection) if own else _savepoint(self._connection)
        async with at_its_ends(at_once(block), partial(_translated, self._schema)):
            yield self


@contextmanager
def _translated(schema: str) -> Iterator[None]:
    try:
        with translated(schema, (DBAPIError, OSError), _is_lost):
            yield
    except DBAPIError as error:
        error.hide_parameters = True  # the payload is among them
        raise


def _is_lost(error: DBAPIError | OSError) -> bool:
    if isinstance(error, DBAPIError) and not error.connection_invalidated:
        return isinstance(error, OperationalError) and has_no_answer(error)
    return True


def _is_autocommit(connection: Connection) -> bool:
    return bool(getattr(connection.connection.dbapi_connection, "autocommit", False))


@contextmanager
def _savepoint(connection: Connection) -> Iterator[None]:
    # A call of begin_nested sends the savepoint: its errors belong to entering the block.
    with connection.begin_nested():
        yield


@contextmanager
def _transaction(connection: Connection) -> Iterator[None]:
    connection.exec_driver_sql(statement_text("begin"))
    try:
        yield
    except BaseException:
        if not connection.invalidated:
            connection.exec_driver_sql(statement_text("rollback"))
        raise
    connection.exec_driver_sql(statement_text("commit"))
