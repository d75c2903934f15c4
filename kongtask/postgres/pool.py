"""Opening connections, and turning what Postgres says into errors that name the way out.

It refuses to show a password: messages name host, port, database and user only.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

import asyncpg

from kongtask.core.task_spec import is_text
from kongtask.errors import ConfigurationError, DatabaseRefused, StoreUnavailable
from kongtask.postgres.statements import statement_text

CONNECT_TIMEOUT = 5.0
"""Seconds until an attempt to connect is given up. Behind a network that swallows packets, the next
attempt gets through sooner than this one, whose packets are sent again ever more rarely."""

WAIT_FOR_OTHERS = 60.0
"""Seconds to wait for a connection that others give back."""

UNACKNOWLEDGED = 5.0
"""Seconds until a connection is given up whose packets nobody acknowledges."""

LOST: tuple[type[BaseException], ...] = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InterfaceError,
    # What asyncpg says when the server's farewell reached it between two statements.
    asyncpg.InternalClientError,
)
"""What asyncpg raises while the server is away; trying again is right."""

_REFUSALS: dict[type[BaseException], tuple[str, str]] = {
    asyncpg.InvalidPasswordError: (
        "AuthenticationFailed",
        "the server refused the password: correct it in the connection string",
    ),
    asyncpg.InvalidAuthorizationSpecificationError: (
        "AuthenticationFailed",
        "the server does not let this user in: check the user's name and pg_hba.conf",
    ),
    asyncpg.InvalidCatalogNameError: (
        "DatabaseNotFound",
        "the database does not exist: create it, or correct its name in the connection string",
    ),
    asyncpg.InsufficientPrivilegeError: (
        "PermissionDenied",
        "the role may not do this: connect as the owner of the schema",
    ),
}


_KEEPALIVE = (
    ("TCP_KEEPIDLE", 5),
    ("TCP_KEEPINTVL", 2),
    ("TCP_KEEPCNT", 3),
    ("TCP_USER_TIMEOUT", int(UNACKNOWLEDGED * 1000)),
)
"""Each is known to some systems only; in seconds, seconds, probes, milliseconds."""


class _Promise:
    """That nothing is left behind in a session, for as long as it holds."""

    holds = True


_promise: ContextVar[_Promise | None] = ContextVar("kongtask_promise", default=None)


def describe(dsn: str) -> str:
    """Name the server of a connection string without its secrets.

    >>> describe("postgres://me:secret@db:5433/shop?password=x")
    'me@db:5433/shop'
    >>> describe("postgres://me@/shop?host=/run/postgres")
    'me@/run/postgres/shop'
    >>> describe("postgres://me:secret@one:5432,two/shop")
    'me@one:5432,two:5432/shop'
    >>> describe("postgres://me:12/secret@db/shop")
    'the connection string'
    """
    try:
        parts = urlsplit(dsn)
        address = ",".join(_addresses(parts))
        host = parse_qs(parts.query).get("host", [""])[0]
    except ValueError:
        return "the connection string"
    if "@" in f"{parts.path}{parts.query}{parts.fragment}":  # perhaps a part of the password
        return "the connection string"
    user = f"{unquote(parts.username)}@" if parts.username else ""
    return f"{user}{host or address}{parts.path}"


def check_dsn(dsn: str) -> None:
    """Raise `ConfigurationError` when the text cannot be a connection string."""
    way_out = "write it as postgres://USER:PASSWORD@HOST:PORT/DATABASE"
    if not isinstance(dsn, str):
        raise ConfigurationError(f"the connection string is a {type(dsn).__name__}: {way_out}")
    if not dsn.strip():
        raise ConfigurationError(f"the connection string is empty: {way_out}")
    encoded = f"{way_out}, special characters percent-encoded (@ as %40, / as %2F)"
    try:
        parts = urlsplit(dsn)
        _addresses(parts)
    except ValueError:
        # What Python says here may quote the password.
        raise ConfigurationError(f"the connection string is not a URL: {encoded}") from None
    if parts.scheme not in ("postgres", "postgresql"):
        given = f"{parts.scheme}://" if parts.scheme and "://" in dsn else "no scheme"
        raise ConfigurationError(f"the connection string begins with {given}: {way_out}")
    if _is_ambiguous(parts) or not is_text(unquote(dsn, errors="surrogateescape")):
        raise ConfigurationError(f"the connection string cannot be read: {encoded}")


@asynccontextmanager
async def translated(dsn: str) -> AsyncIterator[None]:
    """Turn what connecting can raise into `ConfigurationError` or `StoreUnavailable`."""
    try:
        yield
    except tuple(_REFUSALS) as error:
        reason, way_out = _REFUSALS[next(kind for kind in _REFUSALS if isinstance(error, kind))]
        raise DatabaseRefused(f"{describe(dsn)}: {way_out}", reason=reason) from error
    except (ValueError, IndexError, asyncpg.ClientConfigurationError):
        # What asyncpg says here may quote the password; at an empty host it says IndexError.
        raise ConfigurationError(
            f"{describe(dsn)}: the connection string cannot be used: check each of its parts"
        ) from None
    except LOST as error:
        detail = "timed out" if isinstance(error, TimeoutError) else _plain(error)
        raise StoreUnavailable(
            f"{describe(dsn)}: cannot reach PostgreSQL ({detail}): "
            "check that the server runs and that host and port are right"
        ) from error
    except asyncpg.PostgresError as error:
        raise DatabaseRefused(
            f"{describe(dsn)}: PostgreSQL does not take the connection "
            f"({type(error).__name__}): check the options after the ? in the connection string"
        ) from None


async def connect(dsn: str, *, application_name: str = "kongtask") -> asyncpg.Connection[Any]:
    """Open one connection; raises `ConfigurationError` or `StoreUnavailable`."""
    check_dsn(dsn)
    async with translated(dsn):
        connection: asyncpg.Connection[Any] = await asyncpg.connect(
            dsn,
            timeout=CONNECT_TIMEOUT,
            server_settings={"application_name": application_name},
        )
    await notice_cuts(connection)
    return connection


async def open_pool(
    dsn: str, *, max_size: int = 10, application_name: str = "kongtask", writable: bool = False
) -> asyncpg.Pool[Any]:
    """Open a pool of at most `max_size` connections; raises as `connect` does.

    Behind a pooler it keeps no prepared statements: the next one may reach another session.
    writable: raise `StoreUnavailable` for a server that takes no writes.
    """
    check_dsn(dsn)
    how: dict[str, Any] = {
        "timeout": CONNECT_TIMEOUT,
        "server_settings": {"application_name": application_name},
    }
    async with translated(dsn):
        is_pooled, is_read_only = await _who_answers_at(dsn, how)
        if is_read_only and writable:
            raise StoreUnavailable(
                f"{describe(dsn)}: the server takes no writes: let the connection string name the "
                "primary, not a replica"
            )
        if is_pooled:
            how["statement_cache_size"] = 0
        # With a least size asyncpg would connect by itself again and again through an outage, and
        # log a traceback each time.
        return await asyncpg.create_pool(
            dsn, min_size=0, max_size=max_size, init=notice_cuts, reset=_tidy_up, **how
        )


@contextmanager
def leaving_nothing() -> Iterator[None]:
    """Say that statements within leave nothing behind in the session.

    A pool that `open_pool` opened then takes its connection back as it is. To reset it, as it does
    with those of others, is a second round trip, and a third of what adding a job takes.
    """
    promise = _Promise()
    _promise.set(promise)
    try:
        yield
    finally:
        # Whatever is called by a connection that was opened meanwhile keeps a copy of the context.
        promise.holds = False


async def _tidy_up(connection: Any) -> None:
    """Reset a session as asyncpg does; it has rolled back and dropped listeners already."""
    promise = _promise.get()
    if promise is not None and promise.holds:
        return
    if query := connection.get_reset_query():
        await connection.execute(query)


async def borrow(pool: asyncpg.Pool[Any]) -> Any:
    """Take a connection for long; raises `TimeoutError` and what connecting raises.

    The pool may be the user's: its own patience may be longer than what an outage allows.
    """
    has_room = pool.get_idle_size() > 0 or pool.get_size() < pool.get_max_size()
    connection = await pool.acquire(timeout=CONNECT_TIMEOUT if has_room else WAIT_FOR_OTHERS)
    await notice_cuts(connection)
    return connection


async def who_answers(connection: Any) -> tuple[bool, bool]:
    """Return whether the connection goes through a pooler, and whether it refuses writes.

    A pooler greets with a process number of its own.
    """
    query = statement_text("who_answers")
    [row] = await connection.fetch(query, timeout=CONNECT_TIMEOUT)
    return row["pid"] != connection.get_server_pid(), row["is_read_only"]


async def notice_cuts(connection: Any) -> None:
    """Have the kernel end the connection when its packets are no longer acknowledged.

    Without, a network that swallows them goes unnoticed for a quarter of an hour, and whoever only
    listens never notices.
    """
    transport = getattr(connection, "_transport", None)  # asyncpg has no way to ask for it
    plug = None if transport is None else transport.get_extra_info("socket")
    if plug is None or plug.family not in (socket.AF_INET, socket.AF_INET6):
        return
    plug.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, number in _KEEPALIVE:
        if hasattr(socket, name):
            plug.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), number)


async def close_pool(pool: asyncpg.Pool[Any], patience: float = 5.0) -> None:
    """Close the pool's connections, by force when they are still in use after `patience` s."""
    try:
        await asyncio.wait_for(pool.close(), patience)
    except TimeoutError:
        pool.terminate()


async def _who_answers_at(dsn: str, how: dict[str, Any]) -> tuple[bool, bool]:
    # A name that this session prepared could clash with that of another client of the pooler.
    connection = await asyncpg.connect(dsn, **how, statement_cache_size=0)
    try:
        return await who_answers(connection)
    finally:
        await connection.close(timeout=CONNECT_TIMEOUT)


def _addresses(parts: SplitResult) -> list[str]:
    """Return host and port of each server, of which there may be several between commas."""
    places = [urlsplit(f"//{each}") for each in parts.netloc.rpartition("@")[2].split(",")]
    named = [(place.hostname or "localhost", place.port or 5432) for place in places]
    return [
        f"[{name}]:{port}" if ":" in name else f"{unquote(name)}:{port}" for name, port in named
    ]


def _is_ambiguous(parts: SplitResult) -> bool:
    """Whether an unencoded / ? or # may have ended the password early, and shows the rest of it."""
    later = f"{parts.path}{parts.fragment}" + ("" if "@" in parts.netloc else parts.query)
    return "@" in later


def _plain(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0][:200] if text else type(error).__name__
