"""Applications with a transaction of their own, one for each way in which they reach PostgreSQL.

All of them look alike to the tests: what blocks does so inside a coroutine.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    closing,
    contextmanager,
)
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any

import asyncpg
import django_setup
import psycopg
import sqlalchemy
from asgiref.sync import sync_to_async
from django.db import Error as DjangoError
from django.db import transaction as django_transaction
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from kongtask.adapters import django as kongtask_django
from kongtask.adapters import psycopg as kongtask_psycopg
from kongtask.adapters import sqlalchemy as kongtask_sqlalchemy
from kongtask.core.job import Job
from kongtask.core.new_job import NewJob
from kongtask.core.task_spec import TaskSpec
from kongtask.postgres.enqueue import JobQueue
from kongtask.postgres.statements import DEFAULT_SCHEMA

Block = Callable[[], AbstractAsyncContextManager[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """An application that holds a connection. `errors` is what its library raises."""

    add: Callable[..., Any]
    add_many: Callable[..., Any]
    transaction: Block
    savepoint: Block
    errors: type[Exception]

    async def add_job(
        self, task: str, payload: object = None, spec: TaskSpec | None = None, **options: Any
    ) -> Job:
        job: Job = await _awaited(self.add(task, payload, spec, **options))
        return job

    async def add_jobs(self, jobs: Iterable[NewJob], **options: Any) -> list[Job]:
        added: list[Job] = await _awaited(self.add_many(jobs, **options))
        return added


Application = Callable[..., AbstractAsyncContextManager[Caller]]
"""Connects to a URL; with `autocommit=True` each statement is kept by itself."""


@asynccontextmanager
async def asyncpg_connection(url: str, *, autocommit: bool = False) -> AsyncIterator[Caller]:
    connection = await asyncpg.connect(url)

    def add(*job: Any, schema: str = DEFAULT_SCHEMA) -> Awaitable[Job]:
        return JobQueue(connection, schema).add_job(*job)

    def add_many(*jobs: Any, schema: str = DEFAULT_SCHEMA, **options: Any) -> Awaitable[list[Job]]:
        return JobQueue(connection, schema).add_jobs(*jobs, **options)

    try:
        yield Caller(
            add=add, add_many=add_many, errors=asyncpg.PostgresError,
            transaction=connection.transaction, savepoint=connection.transaction,
        )  # fmt: skip
    finally:
        await connection.close()


@asynccontextmanager
async def psycopg_blocking(url: str, *, autocommit: bool = False) -> AsyncIterator[Caller]:
    with closing(psycopg.connect(url, autocommit=autocommit)) as connection:
        yield Caller(
            add=_given(kongtask_psycopg.add_job, connection),
            add_many=_given(kongtask_psycopg.add_jobs, connection),
            transaction=lambda: _as_you_go(connection),
            savepoint=lambda: _blocking(connection.transaction()),
            errors=psycopg.Error,
        )


@asynccontextmanager
async def psycopg_async(url: str, *, autocommit: bool = False) -> AsyncIterator[Caller]:
    connection = await psycopg.AsyncConnection.connect(url, autocommit=autocommit)
    try:
        yield Caller(
            add=_given(kongtask_psycopg.add_job, connection),
            add_many=_given(kongtask_psycopg.add_jobs, connection),
            transaction=lambda: _as_you_go(connection),
            savepoint=connection.transaction,
            errors=psycopg.Error,
        )
    finally:
        await connection.close()


@asynccontextmanager
async def sqlalchemy_connection(url: str, *, autocommit: bool = False) -> AsyncIterator[Caller]:
    with _engine(url, autocommit) as engine, engine.connect() as connection:
        yield Caller(
            add=_given(kongtask_sqlalchemy.add_job, connection),
            add_many=_given(kongtask_sqlalchemy.add_jobs, connection),
            transaction=lambda: _as_you_go(connection),
            savepoint=lambda: _blocking(connection.begin_nested()),
            errors=sqlalchemy.exc.DBAPIError,
        )


@asynccontextmanager
async def sqlalchemy_session(url: str, *, autocommit: bool = False) -> AsyncIterator[Caller]:
    with _engine(url, autocommit) as engine, Session(engine) as session:
        yield Caller(
            add=_given(kongtask_sqlalchemy.add_job, session),
            add_many=_given(kongtask_sqlalchemy.add_jobs, session),
            transaction=lambda: _blocking(session.begin()),
            savepoint=lambda: _blocking(session.begin_nested()),
            errors=sqlalchemy.exc.DBAPIError,
        )


@asynccontextmanager
async def sqlalchemy_async_connection(
    url: str, *, autocommit: bool = False
) -> AsyncIterator[Caller]:
    async with _async_engine(url, "asyncpg", autocommit) as engine, engine.connect() as connection:
        yield Caller(
            add=_given(kongtask_sqlalchemy.add_job, connection),
            add_many=_given(kongtask_sqlalchemy.add_jobs, connection),
            transaction=lambda: _as_you_go(connection),
            savepoint=connection.begin_nested,
            errors=sqlalchemy.exc.DBAPIError,
        )


@asynccontextmanager
async def sqlalchemy_async_session(url: str, *, autocommit: bool = False) -> AsyncIterator[Caller]:
    async with _async_engine(url, "psycopg", autocommit) as engine, AsyncSession(engine) as session:
        yield Caller(
            add=_given(kongtask_sqlalchemy.add_job, session),
            add_many=_given(kongtask_sqlalchemy.add_jobs, session),
            transaction=session.begin,
            savepoint=session.begin_nested,
            errors=sqlalchemy.exc.DBAPIError,
        )


@asynccontextmanager
async def django_async(url: str, *, autocommit: bool = False) -> AsyncIterator[Caller]:
    """Django's connection lives in the one thread that `sync_to_async` uses."""
    await sync_to_async(django_setup.connect)(url)
    try:
        yield Caller(
            add=kongtask_django.aadd_job,
            add_many=kongtask_django.aadd_jobs,
            transaction=lambda: _in_thread(django_transaction.atomic()),
            savepoint=lambda: _in_thread(django_transaction.atomic()),
            errors=DjangoError,
        )
    finally:
        await sync_to_async(django_setup.disconnect)()


APPLICATIONS: dict[str, Application] = {
    "asyncpg": asyncpg_connection,
    "psycopg": psycopg_blocking,
    "psycopg async": psycopg_async,
    "SQLAlchemy Connection": sqlalchemy_connection,
    "SQLAlchemy Session": sqlalchemy_session,
    "SQLAlchemy AsyncConnection on asyncpg": sqlalchemy_async_connection,
    "SQLAlchemy AsyncSession on psycopg": sqlalchemy_async_session,
    "Django": django_async,
}


def _given(function: Callable[..., Any], connection: object) -> Callable[..., Any]:
    return lambda *arguments, **options: function(connection, *arguments, **options)


async def _awaited(result: Any) -> Any:
    return await result if isawaitable(result) else result


@asynccontextmanager
async def _as_you_go(connection: Any) -> AsyncIterator[None]:
    """Commit or roll back what the statements of the block have begun."""
    try:
        yield
    except BaseException:
        await _awaited(connection.rollback())
        raise
    await _awaited(connection.commit())


@asynccontextmanager
async def _blocking(block: AbstractContextManager[object]) -> AsyncIterator[None]:
    with block:
        yield


@asynccontextmanager
async def _in_thread(block: AbstractContextManager[object]) -> AsyncIterator[None]:
    await sync_to_async(block.__enter__)()
    try:
        yield
    except BaseException as error:
        await sync_to_async(block.__exit__)(type(error), error, error.__traceback__)
        raise
    await sync_to_async(block.__exit__)(None, None, None)


def _dialect(url: str, driver: str) -> str:
    return url.replace("postgresql://", f"postgresql+{driver}://")


def _options(autocommit: bool) -> dict[str, str]:
    return {"isolation_level": "AUTOCOMMIT"} if autocommit else {}


@contextmanager
def _engine(url: str, autocommit: bool) -> Iterator[sqlalchemy.Engine]:
    engine = sqlalchemy.create_engine(_dialect(url, "psycopg"), **_options(autocommit))
    yield engine
    engine.dispose()


@asynccontextmanager
async def _async_engine(url: str, driver: str, autocommit: bool) -> AsyncIterator[Any]:
    engine = create_async_engine(_dialect(url, driver), **_options(autocommit))
    yield engine
    await engine.dispose()
