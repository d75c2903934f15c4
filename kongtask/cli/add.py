"""The command that adds a job."""

from __future__ import annotations

import asyncio
import difflib
import json
import os
import sys
from collections.abc import Coroutine
from typing import Any

import click

from kongtask.cli.options import database_options
from kongtask.cli.traces import configure_tracing
from kongtask.core.job import Job
from kongtask.core.new_job import payload_from
from kongtask.core.task_spec import TaskSpec
from kongtask.errors import ConfigurationError, DatabaseRefused
from kongtask.job_lines import job_as_json, when_due
from kongtask.postgres.migrations import check_level, read_level
from kongtask.settings import database_settings
from kongtask.worker_utils import WorkerUtils


@click.command()
@click.argument("task")
@click.argument("payload", metavar="JSON", default="{}")
@database_options
@click.option("--queue", "queue_name", help="Run one after the other with others of this queue.")
@click.option("--run-at", type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S.%f%z"]),
              help="Not before this moment, such as 2026-01-31T09:00:00+0000.")  # fmt: skip
@click.option("--priority", type=int, help="Lower runs first. [default: 0]")
@click.option("--max-attempts", type=int, help="Runs before it is failed for good. [default: 25]")
@click.option("--key", "job_key", help="Change the waiting job with this key, if there is one.")
@click.option("--key-mode", "job_key_mode", help="replace, preserve_run_at or unsafe_dedupe.")
@click.option("--flag", "flags", multiple=True, help="Label that workers may refuse.")
@click.option("--force", is_flag=True, help="Add it although no worker is known for the task.")
@click.option("--json", "as_json", is_flag=True, help="Print the job as JSON.")
def add(
    task: str,
    payload: str,
    connection: str | None,
    schema: str | None,
    force: bool,
    as_json: bool,
    **spec: Any,
) -> None:
    """Add a job for TASK with a payload of JSON; - reads the payload from standard input."""
    settings = database_settings(os.environ, {"connection": connection, "schema": schema})
    value = payload_from(sys.stdin.read() if payload == "-" else payload)
    wanted = TaskSpec(**{**spec, "flags": spec["flags"] or None})

    async def run() -> Job:
        async with await WorkerUtils.connect(settings.url, settings.schema) as utils:
            check_level(await read_level(utils.pool, settings.schema), settings.schema)
            if not force:
                _check_known(task, await _known_tasks(utils))
            return await utils.add_job(task, value, wanted)

    job = _traced(run())
    if as_json:
        click.echo(json.dumps(job_as_json(job)))
    else:
        click.echo(f"added job {job.id} ({task}), to run {when_due(job)}")


def _traced(work: Coroutine[Any, Any, Job]) -> Job:
    flush = configure_tracing(os.environ)
    try:
        return asyncio.run(work)
    finally:
        flush()


async def _known_tasks(utils: WorkerUtils) -> list[str]:
    """Return which tasks are known: none to a role that may add jobs and read nothing."""
    try:
        return await utils.known_tasks()
    except DatabaseRefused:
        return []


def _check_known(task: str, known: list[str]) -> None:
    if not known or task in known:
        return
    close = difflib.get_close_matches(task, known, n=1)
    way = f"did you mean {close[0]}? Add" if close else "add"
    shown = ", ".join(known[:8]) + (", …" if len(known) > 8 else "")
    raise ConfigurationError(
        f"no worker of this schema knows a task {task!r}; known are {shown}: "
        f"{way} it all the same with --force"
    )
