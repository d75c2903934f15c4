"""A flag wins over the environment, and what cannot work is named by where it was given."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from kongtask.errors import ConfigurationError
from kongtask.settings import database_settings, worker_settings

URL = {"DATABASE_URL": "postgres://db/shop"}


def test_defaults_need_a_database_alone() -> None:
    found = worker_settings(URL, {})
    assert (found.concurrency, found.tasks, found.name) == (1, (), "")
    assert (found.drain_timeout, found.health_port, found.crontab) == (None, None, None)
    assert (found.once, found.migrate, found.poll_interval) == (False, True, timedelta(seconds=2))
    assert found.database.schema == "graphile_worker"
    assert (found.listen, found.attempts_count) == (True, True)
    assert found.start_timeout == timedelta(seconds=30)


ENVIRONMENT = {
    **URL,
    "KONGTASK_SCHEMA": "jobs",
    "KONGTASK_CONCURRENCY": "7",
    "KONGTASK_TASKS": "a, b/c.py,,",
    "KONGTASK_WORKER_NAME": "pod-1",
    "KONGTASK_DRAIN_TIMEOUT": "0",
    "KONGTASK_HEALTH_PORT": "8080",
    "KONGTASK_POLL_INTERVAL": "250",
    "KONGTASK_JOB_TIMEOUT": "30",
    "KONGTASK_LISTEN": "0",
    "KONGTASK_ATTEMPTS_COUNT": "0",
    "KONGTASK_START_TIMEOUT": "0",
}


def test_the_environment_is_read() -> None:
    found = worker_settings(ENVIRONMENT, {})
    assert (found.concurrency, found.tasks, found.name) == (7, ("a", "b/c.py"), "pod-1")
    assert (found.drain_timeout, found.health_port) == (timedelta(0), 8080)
    assert (found.database.schema, found.poll_interval) == ("jobs", timedelta(seconds=0.25))
    assert (found.job_timeout, found.listen) == (timedelta(seconds=30), False)
    assert (found.attempts_count, found.start_timeout) == (False, timedelta(0))


def test_flags_win() -> None:
    flags = {
        "connection": "postgres://other/db", "schema": "s", "jobs": 3, "tasks": ("x",),
        "drain_timeout": 5, "health_port": 0, "poll_interval": 10, "once": True, "migrate": False,
        "job_timeout": 9, "listen": True, "attempts_count": True, "start_timeout": 4,
    }  # fmt: skip
    found = worker_settings(ENVIRONMENT, flags)
    assert (found.database.url, found.database.schema) == ("postgres://other/db", "s")
    assert (found.concurrency, found.tasks, found.once, found.migrate) == (3, ("x",), True, False)
    assert (found.drain_timeout, found.health_port) == (timedelta(seconds=5), 0)
    assert (found.job_timeout, found.listen) == (timedelta(seconds=9), True)
    assert (found.attempts_count, found.start_timeout) == (True, timedelta(seconds=4))


def test_the_schema_of_graphile_worker_is_taken_over() -> None:
    environment = {**URL, "GRAPHILE_WORKER_SCHEMA": "theirs"}
    assert database_settings(environment, {}).schema == "theirs"
    assert database_settings({**environment, "KONGTASK_SCHEMA": "ours"}, {}).schema == "ours"


def test_empty_variables_count_as_unset() -> None:
    empty = dict.fromkeys(ENVIRONMENT, "")
    assert worker_settings({**empty, **URL}, {}) == worker_settings(URL, {})


@pytest.mark.parametrize(
    "environment, flags, message",
    [
        ({"KONGTASK_CONCURRENCY": "0"}, {}, "KONGTASK_CONCURRENCY is '0': .* 1 to 10000"),
        ({"KONGTASK_CONCURRENCY": "-1"}, {}, "KONGTASK_CONCURRENCY is '-1'"),
        ({"KONGTASK_CONCURRENCY": "1.5"}, {}, "KONGTASK_CONCURRENCY is '1.5'"),
        ({"KONGTASK_CONCURRENCY": "٣"}, {}, "KONGTASK_CONCURRENCY is '٣'"),
        ({"KONGTASK_CONCURRENCY": "9" * 5000}, {}, "KONGTASK_CONCURRENCY is '9999"),
        ({"KONGTASK_CONCURRENCY": "0000000000010"}, {}, "KONGTASK_CONCURRENCY is '0000"),
        ({"KONGTASK_DRAIN_TIMEOUT": "30s"}, {}, "KONGTASK_DRAIN_TIMEOUT is '30s'"),
        ({"KONGTASK_HEALTH_PORT": "65536"}, {}, "KONGTASK_HEALTH_PORT is '65536'"),
        ({"KONGTASK_POLL_INTERVAL": "0"}, {}, "KONGTASK_POLL_INTERVAL is '0'"),
        ({}, {"jobs": 0}, "--jobs is '0': write a whole number from 1 to 10000"),
        ({}, {"drain_timeout": -1}, "--drain-timeout is '-1'"),
        ({}, {"health_port": 70_000}, "--health-port is '70000'"),
        ({"KONGTASK_CONCURRENCY": "4"}, {"jobs": 10_001}, "--jobs is '10001'"),
    ],
)
def test_a_number_that_cannot_work_is_named_with_its_place(
    environment: dict[str, str], flags: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message) as it:
        worker_settings({**URL, **environment}, flags)
    assert len(str(it.value)) < 200


def test_no_database_is_told_with_both_ways_to_name_one() -> None:
    with pytest.raises(ConfigurationError, match=r"-c postgres://.* or set DATABASE_URL"):
        database_settings({}, {})
