"""A program whose jobs note when they begin and end, run in one of four ways: see `main`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import kongtask
from kongtask import WorkerPoolOptions, run_task_list, task


def note(word: str, job_id: int) -> None:
    """Append one line; such a small write is not torn, whichever process does it."""
    line = f"{word} {job_id} {os.getpid()}\n".encode()
    file = os.open("notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line)
    os.close(file)


@task
async def on_loop(payload: Any, helpers: Any) -> None:
    note("begin", helpers.job.id)
    await asyncio.sleep(payload)
    note("end", helpers.job.id)


@task
def in_thread(payload: Any, helpers: Any) -> None:
    note("begin", helpers.job.id)
    time.sleep(payload)
    note("end", helpers.job.id)


@task(process=True)
def in_process(payload: Any, helpers: Any) -> None:
    note("begin", helpers.job.id)
    time.sleep(payload)
    note("end", helpers.job.id)


TASKS = {"on_loop": on_loop, "in_thread": in_thread, "in_process": in_process}


async def embedded() -> None:
    """A program of the user's own, with signals of its own."""
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    options = WorkerPoolOptions(concurrency=8, no_handle_signals=True)
    async with await run_task_list(TASKS, os.environ["DATABASE_URL"], options):
        note("ready", 0)
        await told.wait()


def web() -> None:
    """A web application that is served by uvicorn."""
    import uvicorn
    from fastapi import FastAPI

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        options = WorkerPoolOptions(concurrency=8, no_handle_signals=True)
        async with await run_task_list(TASKS, os.environ["DATABASE_URL"], options):
            note("ready", 0)
            yield

    uvicorn.run(FastAPI(lifespan=lifespan), port=0, log_level="warning")


async def handled() -> None:
    """As `kongtask worker` does it: the pool hears the signals itself."""
    options = WorkerPoolOptions(concurrency=8)
    workers = await run_task_list(TASKS, os.environ["DATABASE_URL"], options)
    note("ready", 0)
    await workers.wait()


def main(how: str) -> None:
    """Run until SIGTERM."""
    if how == "web":
        web()
    elif how == "uvloop":
        import uvloop

        uvloop.run(handled())
    elif how == "embedded":
        asyncio.run(embedded())
    else:
        asyncio.run(handled())


if __name__ == "__main__":
    assert kongtask.__version__
    main(sys.argv[1])
