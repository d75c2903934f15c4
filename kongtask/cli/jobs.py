"""The command that lists jobs."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import click

from kongtask.cli.options import database_options
from kongtask.core.job import Job
from kongtask.job_lines import job_as_json, job_line
from kongtask.settings import database_settings
from kongtask.worker_utils import WorkerUtils


@click.command()
@database_options
@click.option(
    "--state", type=click.Choice(["waiting", "scheduled", "running", "failed"]), default="failed",
    show_default=True,
)  # fmt: skip
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each job.")
def jobs(state: Any, limit: int, as_json: bool, **flags: Any) -> None:
    """List jobs of one state, for example those that failed for good."""
    settings = database_settings(os.environ, flags)

    async def run() -> list[Job]:
        async with await WorkerUtils.connect(settings.url, settings.schema) as utils:
            return await utils.list_jobs(state, limit)

    found = asyncio.run(run())
    for job in found:
        click.echo(json.dumps(job_as_json(job)) if as_json else job_line(job))
    if not found and not as_json:
        click.echo(f"no {state} jobs in schema {settings.schema}")
