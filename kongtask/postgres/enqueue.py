"""Adding jobs over asyncpg, one or many at a time, as Graphile Worker's own functions would.

Works on a pool or inside a caller's transaction on a connection: then the job exists if and only
if that transaction commits.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from typing import Any, TypeAlias

import asyncpg

from kongtask.core.job import Job
from kongtask.core.new_job import NewJob
from kongtask.core.task_spec import TaskSpec
from kongtask.postgres.adding import Rows, add_many, add_one, at_its_ends
from kongtask.postgres.pool import leaving_nothing
from kongtask.postgres.records import translated_statement
from kongtask.postgres.statements import statement
from kongtask.tracing import Tracing

__all__ = ["Executor", "JobQueue", "NewJob"]

Executor: TypeAlias = Any
"""An asyncpg pool, or a connection that may be inside a transaction."""


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
        return await add_one(self._sender(connection), self._tracing, task, payload, spec)

    async def add_jobs(
        self,
        jobs: Iterable[NewJob],
        *,
        connection: Executor | None = None,
        return_jobs: bool = True,
    ) -> list[Job]:
        """Add many jobs, all or none, and return them in the order given.

        They are read and sent in chunks of one transaction; with `return_jobs=False` the list is
        empty, and what is held at once does not grow with their number.
        """
        sender = self._sender(connection)
        return await add_many(sender, self._tracing, jobs, return_jobs=return_jobs)

    def _sender(self, connection: Executor | None) -> _Sender:
        return _Sender(connection or self._executor, self.schema)


class _Sender:
    def __init__(self, executor: Executor, schema: str) -> None:
        self._executor = executor
        self._schema = schema

    async def fetch(self, name: str, arguments: tuple[object, ...]) -> Rows:
        query, is_pool = statement(name, self._schema), isinstance(self._executor, asyncpg.Pool)
        with translated_statement(self._schema), leaving_nothing() if is_pool else nullcontext():
            rows: Rows = await self._executor.fetch(query, *arguments)
            return rows

    @asynccontextmanager
    async def all_or_none(self) -> AsyncIterator[_Sender]:
        translated = partial(translated_statement, self._schema)
        async with at_its_ends(_transaction(self._executor), translated) as connection:
            yield _Sender(connection, self._schema)


@asynccontextmanager
async def _transaction(executor: Executor) -> AsyncIterator[Executor]:
    if not isinstance(executor, asyncpg.Pool):
        async with executor.transaction():
            yield executor
        return
    async with executor.acquire() as connection, connection.transaction():
        yield connection
