"""The commands about recurring jobs: what a crontab says, what comes, pause, resume, run now."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import click

from kongtask.cli.cron_lines import (
    checked_record,
    firing_record,
    firing_row,
    known_records,
    known_row,
    table,
)
from kongtask.cli.crontab_file import read_crontab
from kongtask.cli.options import database_options
from kongtask.clock import Clock
from kongtask.core.cron.calendar import upcoming
from kongtask.core.cron.lookup import item_named
from kongtask.job_lines import job_as_json, when_due
from kongtask.postgres.migrations import check_level, read_level
from kongtask.settings import database_settings
from kongtask.worker_utils import WorkerUtils

Result = TypeVar("Result")

crontab_file = click.Path(path_type=Path, dir_okay=False)
output_option = click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True
)


def _moment(_context: click.Context, _option: click.Parameter, text: str | None) -> datetime | None:
    try:
        moment = None if text is None else datetime.fromisoformat(text)
        return moment and (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(
            f"{text!r} is no moment: write 2026-03-29T00:00 or 2026-03-29T00:00+01:00"
        ) from error


@click.group("cron")
def cron_commands() -> None:
    """Look at recurring jobs; pause, resume or run them.

    \b
    A crontab:
      # minute hour day-of-month month day-of-week task ?options {payload}
      0 4 * * mon  send_report  ?tz=Europe/Berlin&fill=1d  {to: "all"}
    """


@cron_commands.command()
@click.argument("file", type=crontab_file)
@output_option
def check(file: Path, output: str) -> None:
    """Say in words what each line of FILE does, or where its first mistake is."""
    now = Clock().now()
    records = [checked_record(item, now) for item in read_crontab(file)]
    lines = [str(record["words"]) for record in records]
    _say(output, records, *(lines or [f"{file} has no recurring jobs"]))


@cron_commands.command("next")
@click.argument("file", type=crontab_file)
@click.option("-n", "count", type=click.IntRange(1), default=10, show_default=True)
@click.option("--from", "start", callback=_moment, help="After this moment, UTC unless it says.")
@output_option
def next_command(file: Path, count: int, start: datetime | None, output: str) -> None:
    """List the next firings of FILE's lines, by their own clocks and in UTC."""
    after = start or Clock().now()
    found = list(islice(upcoming(read_crontab(file), after), count))
    rows = [firing_row(*firing) for firing in found]
    text = table(("LOCAL", "UTC", "IDENTIFIER"), rows) if rows else (
        f"nothing in {file} fires after {after:%Y-%m-%d %H:%M} UTC"
    )  # fmt: skip
    _say(output, [firing_record(*firing) for firing in found], text)


@cron_commands.command("list")
@click.argument("file", type=crontab_file, required=False)
@database_options
@output_option
def list_command(file: Path | None, output: str, **flags: Any) -> None:
    """List the recurring jobs that the database knows; with FILE, when each fires next."""
    items = read_crontab(file) if file is not None else ()
    known = _with_database(flags, lambda utils: utils.known_crontabs())
    records = known_records(known, items, Clock().now())
    rows = [known_row(record, file is not None) for record in records]
    heads = ("IDENTIFIER", "LAST", "NEXT")[: max(map(len, rows), default=0)]
    nothing = "no scheduler has had a recurring job here"
    _say(output, records, table(heads, rows) if rows else nothing)


@cron_commands.command()
@click.argument("identifier")
@database_options
@output_option
def pause(identifier: str, output: str, **flags: Any) -> None:
    """Pause IDENTIFIER: no worker, operator or worker of Node adds its jobs until it is resumed."""
    changed = _with_database(flags, lambda utils: utils.pause_cron(identifier))
    done = f"{identifier} is paused; `kongtask cron resume {identifier}` lets it go on"
    text = done if changed else f"{identifier} was paused already"
    _say(output, {"identifier": identifier, "changed": changed}, text)


@cron_commands.command()
@click.argument("identifier")
@database_options
@output_option
def resume(identifier: str, output: str, **flags: Any) -> None:
    """Let IDENTIFIER go on; what it missed is not made up for."""
    changed = _with_database(flags, lambda utils: utils.resume_cron(identifier))
    done = f"{identifier} goes on; what it missed is not made up for"
    text = done if changed else f"{identifier} was not paused"
    _say(output, {"identifier": identifier, "changed": changed}, text)


@cron_commands.command()
@click.argument("file", type=crontab_file)
@click.argument("identifier")
@database_options
@output_option
def run(file: Path, identifier: str, output: str, **flags: Any) -> None:
    """Add the job of FILE's line IDENTIFIER now; when it fires next stays as it is."""
    item = item_named(read_crontab(file), identifier, str(file))
    job = _with_database(flags, lambda utils: utils.run_cron_item(item))
    text = f"added job {job.id} ({job.task_identifier}), to run {when_due(job)}"
    _say(output, job_as_json(job), text)


def _say(output: str, record: object, *lines: str) -> None:
    for line in [json.dumps(record)] if output == "json" else lines:
        click.echo(line)


def _with_database(flags: Any, ask: Callable[[WorkerUtils], Awaitable[Result]]) -> Result:
    settings = database_settings(os.environ, flags)

    async def asked() -> Result:
        async with await WorkerUtils.connect(settings.url, settings.schema) as utils:
            check_level(await read_level(utils.pool, settings.schema), settings.schema)
            return await ask(utils)

    return asyncio.run(asked())
