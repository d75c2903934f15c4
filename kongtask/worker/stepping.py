"""Runs a coroutine inside the asyncio task that awaits it, in a context of its own.

A task for each job would cost more than many jobs do. This way a handler that never has to wait
costs no turn of the event loop, `asyncio.current_task()` is the task that its cancellation goes
to, and what it sets in context variables stays with it.

The coroutine returns nothing: to hand a value out of it takes an exception, and as long as two
calls do.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from contextvars import Context
from types import coroutine as awaitable
from typing import Any

ENDED = object()
"""What `begun` returns of a coroutine that did not have to wait."""


def begun(coroutine: Coroutine[Any, Any, None], context: Context) -> object:
    """Run it until it ends or has to wait; return `ENDED`, or what it waits for."""
    return context.run(next, coroutine.__await__(), ENDED)


@awaitable
def rest_of(
    coroutine: Coroutine[Any, Any, None], context: Context, waits_for: object
) -> Generator[Any, Any, None]:
    """Hand on what the coroutine waits for, first what `begun` returned, until it ends."""
    run, send = context.run, coroutine.send
    try:
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
    except StopIteration:
        return
