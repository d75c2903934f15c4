"""Runs a coroutine inside the asyncio task that awaits it, in a context of its own.

A task for each job would cost more than many jobs do. This way a handler that never has to wait
costs no turn of the event loop, `asyncio.current_task()` is the task that its cancellation goes
to, and what it sets in context variables stays with it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")


class InContext(Generic[Result]):
    """Await it once. `on_wait` is called when the coroutine has to wait for the first time."""

    __slots__ = ("_context", "_coroutine", "_on_wait")

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, Result],
        context: Context,
        on_wait: Callable[[], None],
    ) -> None:
        self._coroutine = coroutine
        self._context = context
        self._on_wait = on_wait

    def __await__(self) -> Generator[Any, Any, Result]:
        """Hand on what the coroutine waits for, and what comes of it."""
        run, send = self._context.run, self._coroutine.send
        try:
            waits_for = run(send, None)
            self._on_wait()
            while True:
                try:
                    came = yield waits_for
                except GeneratorExit:
                    run(self._coroutine.close)
                    raise
                except BaseException as error:
                    waits_for = run(self._coroutine.throw, error)
                else:
                    waits_for = run(send, came)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
