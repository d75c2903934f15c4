"""KongTask by its command line, in as many processes as ordered."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from protocol import Order, Work, serve

TASKS = Path(__file__).with_name("cli_tasks") / "tasks.py"


class CommandLine:
    """`kongtask worker`, whose first job says so on standard output."""

    def __init__(self, order: Order) -> None:
        self._order = order

    @asynccontextmanager
    async def working(self, work: Work) -> AsyncIterator[None]:
        worker = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "kongtask", "worker", "-c", self._order.dsn, "-t", str(TASKS),
            "-j", str(work.concurrency), *self._order.settings.get("flags", ()),
        )  # fmt: skip
        yield
        worker.terminate()
        await worker.wait()


serve(CommandLine)
