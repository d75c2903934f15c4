"""Runs a coroutine inside the asyncio task that awaits it, in a context of its own.

A task for each job would cost more than many jobs do. This way a handler that never has to wait
costs no turn of the event loop, `asyncio.current_task()` is the task that its cancellation goes
to, and what it sets in context variables stays with it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from types import coroutine as awaitable
from typing import Any, TypeVar

Result = TypeVar("Result")


@awaitable
def in_context(
    coroutine: Coroutine[Any, Any, Result], context: Context, on_wait: Callable[[], None]
) -> Generator[Any, Any, Result]:
    """Hand on what the coroutine waits for, and what comes of it.

    `on_wait` is called when it has to wait for the first time.
    """
    run, send = context.run, coroutine.send
    try:
        waits_for = run(send, None)
        on_wait()
        while True:
            try:
                came = yield waits_for
            except GeneratorExit:
                run(coroutine.close)
                raise
            except BaseException as error:
                waits_for = run(coroutine.throw, error)
            else:
                waits_for = run(send, came)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
