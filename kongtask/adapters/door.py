"""What every adapter does where its library meets the package: errors, spans, and blocking.

It refuses to know any of the libraries: they tell which exceptions are theirs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from functools import lru_cache
from typing import Any, TypeVar

from kongtask.postgres.refusals import facts, lost, refusal
from kongtask.tracing import Tracing

Result = TypeVar("Result")


@contextmanager
def translated(
    schema: str,
    foreign: type[Exception] | tuple[type[Exception], ...],
    is_lost: Callable[[Any], bool],
) -> Iterator[None]:
    """Turn what the library raises into the package's errors; the rest passes through."""
    try:
        yield
    except foreign as error:
        refused = refusal(error, schema)
        if refused is None and is_lost(error):
            refused = lost(facts(error).message)
        if refused is None:
            raise
        raise refused from error


def has_no_answer(error: BaseException) -> bool:
    """Whether the error is the library's own, and not one that PostgreSQL answered."""
    return not facts(error).sqlstate


@lru_cache(maxsize=32)
def tracing_to(host: str | None, port: int | str | None) -> Tracing:
    """Return what makes the spans for a server; a folder of sockets is no address."""
    if not host or host.startswith("/"):
        return Tracing()
    return Tracing(f"postgresql://{f'[{host}]' if ':' in host else host}:{port or 5432}")


@asynccontextmanager
async def at_once(block: AbstractContextManager[object]) -> AsyncIterator[None]:
    """Enter and leave a block that may block, in the form of one that is awaited."""
    with block:
        yield


def completed(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine that never waits, and return its result.

    >>> async def answer():
    ...     return 42
    >>> completed(answer())
    42
    """
    try:
        work.send(None)
    except StopIteration as end:
        result: Result = end.value
        return result
    work.close()
    raise RuntimeError("a blocking sender must not wait for anything")
