"""Adding jobs inside a transaction of Django, on its PostgreSQL backend.

    with transaction.atomic():
        order.save()
        add_job("charge", {"order": order.pk})

Outside `transaction.atomic()` a job is kept at once. From asynchronous views, whose connection
Django keeps in a thread, `await aadd_job(...)`; a transaction there is a plain function called
through `sync_to_async`, which calls `add_job`. A job that Python refuses was never sent, and the
transaction goes on. When PostgreSQL refuses one in `add_job`, the transaction has failed, as after
any failed query: add the job in an `atomic()` block of its own to go on. `add_jobs` does so.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from asgiref.sync import sync_to_async
from django.db import (
    DEFAULT_DB_ALIAS,
    Error,
    InterfaceError,
    OperationalError,
    connections,
    transaction,
)

from kongtask.adapters.door import at_once, completed, has_no_answer, tracing_to, translated
from kongtask.adapters.json_rows import positional, rows
from kongtask.core.job import Job
from kongtask.core.new_job import NewJob
from kongtask.core.task_spec import TaskSpec
from kongtask.errors import ConfigurationError
from kongtask.postgres.adding import Rows, add_many, add_one, at_its_ends
from kongtask.postgres.statements import DEFAULT_SCHEMA
from kongtask.tracing import Tracing

__all__ = ["aadd_job", "aadd_jobs", "add_job", "add_jobs"]


def add_job(
    task: str,
    payload: object = None,
    spec: TaskSpec | None = None,
    *,
    using: str = DEFAULT_DB_ALIAS,
    schema: str = DEFAULT_SCHEMA,
) -> Job:
    """Add one job in the transaction of a database alias and return it; raises `InvalidJob`."""
    sender = _Sender(using, schema)
    return completed(add_one(sender, sender.tracing(), task, payload, spec))


def add_jobs(
    jobs: Iterable[NewJob],
    *,
    using: str = DEFAULT_DB_ALIAS,
    schema: str = DEFAULT_SCHEMA,
    return_jobs: bool = True,
) -> list[Job]:
    """Add jobs as (task, payload, spec), all or none; return them in the order given.

    With `return_jobs=False` the list is empty, and memory does not grow with their number.
    """
    sender = _Sender(using, schema)
    return completed(add_many(sender, sender.tracing(), jobs, return_jobs=return_jobs))


async def aadd_job(
    task: str,
    payload: object = None,
    spec: TaskSpec | None = None,
    *,
    using: str = DEFAULT_DB_ALIAS,
    schema: str = DEFAULT_SCHEMA,
) -> Job:
    """Do what `add_job` does, from asynchronous code."""
    return await sync_to_async(add_job)(task, payload, spec, using=using, schema=schema)


async def aadd_jobs(
    jobs: Iterable[NewJob],
    *,
    using: str = DEFAULT_DB_ALIAS,
    schema: str = DEFAULT_SCHEMA,
    return_jobs: bool = True,
) -> list[Job]:
    """Do what `add_jobs` does, from asynchronous code."""
    adding = sync_to_async(add_jobs)
    return await adding(jobs, using=using, schema=schema, return_jobs=return_jobs)


class _Sender:
    def __init__(self, using: str, schema: str) -> None:
        self._connection: Any = connections[using]
        self._schema = schema
        self._translated = partial(translated, schema, Error, _is_lost)
        if self._connection.vendor != "postgresql":
            raise ConfigurationError(
                f"jobs are kept in PostgreSQL and the database {using!r} is "
                f"{self._connection.vendor}: name the alias of the one that holds them in `using`"
            )

    def tracing(self) -> Tracing:
        settings = self._connection.settings_dict
        return tracing_to(settings["HOST"], settings["PORT"])

    async def fetch(self, name: str, arguments: tuple[object, ...]) -> Rows:
        text, ordered = positional(name, self._schema, arguments)
        with self._translated(), self._connection.cursor() as cursor:
            cursor.execute(text, ordered)
            return rows(text for (text,) in cursor.fetchall())

    @asynccontextmanager
    async def all_or_none(self) -> AsyncIterator[_Sender]:
        block = transaction.atomic(using=self._connection.alias)
        async with at_its_ends(at_once(block), self._translated):
            yield self


def _is_lost(error: Exception) -> bool:
    return isinstance(error, OperationalError | InterfaceError) and has_no_answer(error)
