"""Lets a heart beat in a thread of its own, on an event loop that no handler can block."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from kongtask.postgres.life import LifeStore, PoolIdentity, pool_like
from kongtask.postgres.pool import close_pool
from kongtask.worker.heart import Heart

if TYPE_CHECKING:
    import asyncpg

LAST_BEAT = 2.0
"""Seconds that a heartbeat under way may still take when the heart is stopped."""


class HeartThread:
    """`start` returns after the first heartbeat, `stop` when there will be no further one."""

    def __init__(
        self, pool: asyncpg.Pool[Any], schema: str, identity: PoolIdentity, heart: Heart
    ) -> None:
        self._pool = pool
        self._schema = schema
        self._identity = identity
        self._heart = heart
        self._thread = threading.Thread(target=self._live, name="kongtask-heart", daemon=True)
        self._begun: asyncio.Future[None] | None = None
        self._home: asyncio.AbstractEventLoop | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()
        self._is_stopped = False

    async def start(self) -> None:
        """Begin to beat; raises what the first heartbeat raises."""
        self._home = asyncio.get_running_loop()
        self._begun = self._home.create_future()
        self._thread.start()
        try:
            await self._begun
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End the thread. Stopping twice is fine."""
        self._is_stopped = True  # before the look: the thread may be about to begin
        if self._loop is not None and self._main is not None:
            with suppress(RuntimeError):  # the loop has ended already
                self._loop.call_soon_threadsafe(self._main.cancel)
        if self._home is not None:
            await self._ended.wait()

    def call(self, function: Callable[..., None], *arguments: object) -> None:
        """Call something on the event loop that started the heart."""
        assert self._home is not None
        with suppress(RuntimeError):  # that loop is closed: nobody is left to be told
            self._home.call_soon_threadsafe(function, *arguments)

    def _live(self) -> None:
        try:
            asyncio.run(self._beating())
        except asyncio.CancelledError:
            pass
        except BaseException as error:
            self.call(self._failed, error)
        finally:
            self.call(self._ended.set)

    async def _beating(self) -> None:
        self._loop, self._main = asyncio.get_running_loop(), asyncio.current_task()
        if self._is_stopped:
            return
        pool = await pool_like(self._pool)
        store = LifeStore(pool, self._schema, self._identity)
        try:
            await self._heart.beat(store)
            self.call(self._succeeded)
            await self._heart.run(store)
        finally:
            await store.close()
            await close_pool(pool, LAST_BEAT)

    def _succeeded(self) -> None:
        if self._begun is not None and not self._begun.done():
            self._begun.set_result(None)

    def _failed(self, error: BaseException) -> None:
        if self._begun is not None and not self._begun.done():
            self._begun.set_exception(error)
