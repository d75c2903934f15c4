"""Jobs in Django's transactions, from plain code and from an asynchronous view."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC
from typing import Any, TypeAlias

import asyncpg
import django_setup
import pytest
from asgiref.sync import sync_to_async
from django.db import DatabaseError, connection, connections, transaction
from django.test import AsyncClient
from postgres_server import run

from kongtask.adapters.django import add_job, add_jobs
from kongtask.core import new_job
from kongtask.core.task_spec import TaskSpec
from kongtask.errors import ConfigurationError, InvalidJob, JobKeyTooLong

Pool: TypeAlias = "asyncpg.Pool[Any]"


@pytest.fixture
def database(database_url: str) -> Iterator[str]:
    django_setup.connect(database_url)
    yield database_url
    django_setup.disconnect()


@pytest.fixture
async def database_of_views(database_url: str) -> AsyncIterator[str]:
    await sync_to_async(django_setup.connect)(database_url)
    yield database_url
    await sync_to_async(django_setup.disconnect)()


def tasks(url: str) -> list[str]:
    """What somebody else sees."""
    return run(_tasks(url))


async def _tasks(url: str) -> list[str]:
    other = await asyncpg.connect(url)
    try:
        rows = await other.fetch(
            "select task_identifier as t from graphile_worker.jobs order by id"
        )
    finally:
        await other.close()
    return [row["t"] for row in rows]


def test_jobs_are_there_when_the_outer_block_ends(database: str) -> None:
    with transaction.atomic():
        add_job("mail")
        with transaction.atomic():
            add_jobs([("bill", None, None)])
        assert tasks(database) == []

    assert tasks(database) == ["mail", "bill"]


def add_in_vain() -> None:
    with transaction.atomic():
        add_job("mail")
        add_jobs([("bill", None, None)])
        raise ZeroDivisionError


def test_jobs_go_with_their_block(database: str) -> None:
    with transaction.atomic():
        add_job("mail")
        with pytest.raises(ZeroDivisionError):
            add_in_vain()

    assert tasks(database) == ["mail"]


def test_jobs_wait_for_a_commit_when_autocommit_is_off(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(new_job, "CHUNK_JOBS", 1)
    transaction.set_autocommit(False)
    add_jobs([("mail", None, None), ("bill", None, None)])
    with pytest.raises(JobKeyTooLong):
        add_jobs([("mail", None, None), ("mail", None, TaskSpec(job_key="k" * 513))])
    assert tasks(database) == []
    transaction.commit()
    transaction.set_autocommit(True)

    assert tasks(database) == ["mail", "bill"]


def test_another_alias_has_jobs_of_its_own(database: str) -> None:
    connections.settings["jobs"] = connections.settings["default"] | {"ATOMIC_REQUESTS": True}
    with transaction.atomic():
        add_job("mail", using="jobs")
        assert tasks(database) == ["mail"]


def test_moments_are_in_utc_whatever_zone_the_project_keeps(database: str) -> None:
    assert add_job("mail").created_at.tzinfo is UTC


def test_binding_on_the_server_adds_the_same_jobs(database_url: str) -> None:
    django_setup.connect(database_url, OPTIONS={"server_side_binding": True})
    spec = TaskSpec(flags=["a", "b"], priority=3, queue_name="q")
    added = [add_job("mail", {"%s": 1}, spec), *add_jobs([("mail", {"%s": 1}, spec)])]
    django_setup.disconnect()

    assert [(job.payload, job.flags, job.priority, job.queue_name) for job in added] == [
        ({"%s": 1}, ("a", "b"), 3, "q")
    ] * 2


def test_a_database_of_another_kind_is_refused(database: str) -> None:
    with pytest.raises(ConfigurationError, match="the database 'lite' is sqlite"):
        add_job("mail", using="lite")


def test_a_refusal_inside_a_block_of_its_own_lets_the_outer_one_go_on(database: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "alter table graphile_worker._private_jobs add constraint soon check (priority < 9)"
        )
    with transaction.atomic():
        with pytest.raises(InvalidJob), transaction.atomic():
            add_job("late", None, TaskSpec(priority=9))
        with pytest.raises(InvalidJob):
            add_jobs([("late", None, TaskSpec(priority=9))])
        add_job("mail")

    assert tasks(database) == ["mail"]


def refuse_and_go_on() -> None:
    with transaction.atomic():
        with pytest.raises(ConfigurationError):
            add_job("mail", schema="nowhere")
        add_job("mail")


def test_a_refusal_without_one_fails_the_transaction(database: str) -> None:
    with pytest.raises(DatabaseError, match="aborted"):
        refuse_and_go_on()

    assert tasks(database) == []


async def test_an_asynchronous_view_adds_a_job(database_of_views: str, pool: Pool) -> None:
    response = await AsyncClient().get("/order")

    job = await pool.fetchval("select id from graphile_worker.jobs")
    assert response.content == str(job).encode()
