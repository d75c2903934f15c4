"""Hands events to whoever wants to hear them, and keeps them from doing harm.

Handlers hear an event in the order in which it was emitted. One that raises is logged; one that is
a coroutine function runs on its own, so nothing waits for it.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from kongtask.logger import Logger, StandardLogger
from kongtask.worker.tasks import is_coroutine_handler

EventHandler = Callable[..., Awaitable[None] | None]
"""Receives an event's data, or name and data of every event; plain or coroutine function."""

ANY = "*"
"""The event name under which a handler hears everything, each with its name."""


@dataclass(eq=False, slots=True)
class _Subscription:
    event: str
    handler: EventHandler
    is_coroutine: bool
    waiting: asyncio.Queue[tuple[str, Callable[[], Awaitable[None]]]] | None = None
    runner: asyncio.Task[None] | None = field(default=None, repr=False)


class EventBus:
    """Where events are emitted and heard. Names and data are in `kongtask.events`.

    logger: told of handlers that raise; default Python's `logging` under the name kongtask.

    >>> bus = EventBus()
    >>> bus.on("job:complete", print)
    >>> bus.emit("job:complete", "job 12")
    job 12
    >>> bus.off("job:complete", print)
    >>> bus.emit("job:complete", "job 13")
    """

    def __init__(self, logger: Logger | None = None) -> None:
        self._logger = logger or StandardLogger()
        self._subscriptions: list[_Subscription] = []
        self._hearing: dict[str, tuple[_Subscription, ...]] = {}

    def on(self, event: str, handler: EventHandler) -> None:
        """Call the handler with the data of each such event.

        event: a name of `kongtask.events`; with `"*"` the handler hears all events and gets two
            arguments, the event's name and its data.
        handler: a plain function, called at once, or a coroutine function, run on its own.

        >>> bus = EventBus()
        >>> bus.on("*", lambda event, data: print(event, data))
        >>> bus.emit("job:start", "job 12")
        job:start job 12
        """
        self._subscriptions.append(_Subscription(event, handler, is_coroutine_handler(handler)))
        self._hearing.clear()

    def off(self, event: str, handler: EventHandler) -> None:
        """Stop calling the handler; unknown ones are ignored."""
        for each in list(self._subscriptions):
            if each.event == event and each.handler == handler:
                self._subscriptions.remove(each)
                self._hearing.clear()
                if each.runner is not None:
                    each.runner.cancel()

    def emit(self, event: str, data: Any = None) -> None:
        """Tell everyone who listens. It never raises and never waits."""
        for each in self._heard_by(event):
            self._tell(each, event, data)

    def wants(self, event: str) -> bool:
        """Whether anybody listens for the event, so that its data is worth putting together.

        >>> bus = EventBus()
        >>> bus.on("job:complete", print)
        >>> bus.wants("job:complete"), bus.wants("job:start")
        (True, False)
        """
        return bool(self._heard_by(event))

    def _heard_by(self, event: str) -> tuple[_Subscription, ...]:
        found = self._hearing.get(event)
        if found is None:
            found = tuple(each for each in self._subscriptions if each.event in (event, ANY))
            self._hearing[event] = found
        return found

    async def settle(self, patience: float = 5.0) -> None:
        """Wait until coroutine handlers have heard all events, for `patience` seconds at most.

        A pool does so itself when it ends; default 5 seconds.

        Example::

            async def hear(data):
                heard.append(data)

            heard = []
            bus = EventBus()
            bus.on("job:complete", hear)
            bus.emit("job:complete", "job 12")
            await bus.settle()
            assert heard == ["job 12"]
        """
        pending = [each.waiting.join() for each in self._subscriptions if each.waiting is not None]
        if pending:
            try:
                await asyncio.wait_for(asyncio.gather(*pending), patience)
            except TimeoutError:
                self._logger.warn("event handlers did not finish in time")

    def _tell(self, subscription: _Subscription, event: str, data: Any) -> None:
        given = (event, data) if subscription.event == ANY else (data,)
        try:
            if subscription.is_coroutine:
                self._later(subscription, event, partial(subscription.handler, *given))
                return
            result = subscription.handler(*given)
            if result is not None and inspect.isawaitable(result):
                self._later(subscription, event, lambda: result)
        except (Exception, SystemExit) as error:
            self._blame(event, error)

    def _later(self, subscription: _Subscription, event: str, call: Any) -> None:
        if subscription.waiting is None or subscription.runner is None:
            subscription.waiting = asyncio.Queue()
            subscription.runner = asyncio.get_running_loop().create_task(self._run(subscription))
        subscription.waiting.put_nowait((event, call))

    async def _run(self, subscription: _Subscription) -> None:
        assert subscription.waiting is not None
        while True:
            event, call = await subscription.waiting.get()
            try:
                await call()
            except asyncio.CancelledError as error:
                if subscription.runner is None or subscription.runner.cancelling():
                    raise
                self._blame(event, error)
            except (Exception, SystemExit) as error:
                self._blame(event, error)
            finally:
                subscription.waiting.task_done()

    def _blame(self, event: str, error: BaseException) -> None:
        self._logger.error(f"a handler of {event} raised {error!r}", {"exception": error})
