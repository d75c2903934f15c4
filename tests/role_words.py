"""Words for tests of roles: login roles that end with their test, and connections as them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit
from uuid import uuid4

import asyncpg

from kongtask.postgres.roles import roles_sql
from kongtask.postgres.statements import DEFAULT_SCHEMA, quote_schema

PASSWORD = "hush-hush"


def as_role(url: str, role: str) -> str:
    """Return the URL of a database for a role of these tests."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{quote(role, safe='')}:{PASSWORD}@{host}"))


async def execute(url: str, *statements: str) -> None:
    """Run statements on a connection of their own."""
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def fetch(url: str, query: str, *arguments: object) -> list[Any]:
    """Run a query on a connection of its own."""
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(query, *arguments))
    finally:
        await connection.close()


def login(role: str) -> str:
    """Return the statement that makes a role of these tests."""
    return f"create role {quote_schema(role)} login password '{PASSWORD}'"


@asynccontextmanager
async def login_role(url: str, name: str = "") -> AsyncIterator[str]:
    """Make a role that may log in and nothing else; it goes with all that it owns there."""
    role = name or f"role_{uuid4().hex[:10]}"
    quoted = quote_schema(role)
    await execute(url, login(role))
    try:
        yield role
    finally:
        await execute(url, f"drop owned by {quoted} cascade", f"drop role {quoted}")


async def grant(url: str, *, worker: str = "", add: str = "", schema: str = DEFAULT_SCHEMA) -> None:
    """Run what `kongtask roles` prints."""
    await execute(url, roles_sql(schema, [worker] if worker else [], [add] if add else []))
