"""A place for each test in the cluster that KUBECONFIG names; `make e2e` prepares it."""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import asyncpg
import pytest
from cluster import DATABASE, SYSTEM, Refused, apply, forwarded, kubectl
from place import TABLES, Place

HERE = Path(__file__).resolve().parent
LOGIN = "postgres://kongtask:kongtask"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("e2e")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call" and report.failed:
        place = getattr(item, "funcargs", {}).get("place")
        if place is not None:
            report.sections.append(("the cluster", scene(place.namespace)))
    return report


def scene(namespace: str) -> str:
    """Return what there is to see in a namespace, and what the operator said of it."""
    asked = [
        ("get", "kongtaskpools", "-n", namespace, "-o", "yaml"),
        ("get", "pods,jobs,deployments", "-n", namespace, "-o", "wide"),
        ("get", "events", "-n", namespace, "--sort-by=.lastTimestamp"),
        ("logs", "-n", namespace, "-l", "kongtask.dev/pool=mail", "--tail=40", "--prefix"),
        ("logs", "-n", SYSTEM, "deployment/kongtask-operator", "--tail=60"),
    ]
    return "\n".join(f"$ kubectl {' '.join(each)}\n{_said(each)}" for each in asked)


def _said(arguments: tuple[str, ...]) -> str:
    try:
        return kubectl(*arguments)
    except Refused as error:
        return str(error)


@pytest.fixture(scope="session")
def postgres_port() -> Iterator[int]:
    """The cluster's Postgres, on this machine."""
    with forwarded(DATABASE, "postgres", 5432) as port:
        yield port


@pytest.fixture
async def place(request: pytest.FixtureRequest, postgres_port: int) -> AsyncIterator[Place]:
    """A namespace that enforces restricted Pod Security, a database, and a Secret that fits."""
    short = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower())[:40]
    name = f"e2e-{short.strip('-')}-{secrets.token_hex(2)}"
    admin = await asyncpg.connect(f"{LOGIN}@127.0.0.1:{postgres_port}/kongtask")
    await admin.execute(f'create database "{name}"')
    await admin.close()
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    here = f"{LOGIN}@127.0.0.1:{postgres_port}/{name}"
    async with asyncpg.create_pool(here, min_size=1, max_size=3) as db:
        await db.execute(TABLES)
        made = Place(namespace=name, uri=f"{LOGIN}@postgres.{DATABASE}:5432/{name}", db=db)
        made.store_uri(made.uri)
        yield made
        await made.open("every")
        kubectl("delete", "namespace", name, "--wait=false")
