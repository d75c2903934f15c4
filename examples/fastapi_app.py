"""A web application that adds jobs and runs them itself: uvicorn fastapi_app:app

When uvicorn is told to end, requests end first, then the jobs that run; what waits is left to
the next process.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request

from kongtask import Helpers, WorkerPoolOptions, run_task_list


async def greet(payload: Any, helpers: Helpers) -> None:
    helpers.logger.info("hello", {"name": payload["name"]})


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    # Signals are uvicorn's: it leaves this block when it is told to end, and that drains.
    options = WorkerPoolOptions(concurrency=10, no_handle_signals=True)
    url = os.environ["DATABASE_URL"]
    async with await run_task_list({"greet": greet}, url, options) as app.state.workers:
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/greetings/{name}")
async def add_greeting(name: str, request: Request) -> dict[str, int]:
    job = await request.app.state.workers.add_job("greet", {"name": name})
    return {"job": job.id}
