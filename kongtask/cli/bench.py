"""The command that measures a database and says what its numbers mean."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import asdict

import click

from kongtask.bench import CHUNK, CONCURRENCY, run_bench
from kongtask.core.bench import Measured, judgement, milliseconds, rate
from kongtask.log_lines import log_to_stderr
from kongtask.postgres.pool import describe
from kongtask.settings import database_settings
from kongtask.worker.signals import handled_signals


@click.command()
@click.option("-c", "--connection", metavar="URL", help="Database; default $DATABASE_URL.")
@click.option(
    "-s", "--schema", default="kongtask_bench", show_default=True,
    help="Scratch schema, made for this and dropped at the end; it must not exist.",
)  # fmt: skip
@click.option(
    "--jobs", type=click.IntRange(1_000, 1_000_000), default=10_000, show_default=True,
    help="Jobs to add in bulk and to run.",
)  # fmt: skip
@click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True
)
def bench(connection: str | None, schema: str, jobs: int, output: str) -> None:
    """Measure a database from here, and say what limits a queue on it.

    How long a round trip and a commit take, how fast jobs are added and run, and how soon one
    starts. It takes some 20 seconds, or more where the database is far away, keeps it busy
    meanwhile, and leaves nothing behind, also after ctrl-C. Workers on the same database hear of
    its jobs and look for their own each time.
    """
    log_to_stderr("text", "warning")
    url = database_settings(os.environ, {"connection": connection}).url
    measured = _measure(url, schema, jobs)
    if output == "json":
        facts = {
            "database": describe(url), **asdict(measured), "flush_ms": measured.flush_ms,
            "meaning": judgement(measured),
        }  # fmt: skip
        click.echo(json.dumps(facts, indent=2))
    else:
        click.echo("\n".join(_lines(measured, url)))


def _measure(url: str, schema: str, jobs: int) -> Measured:
    heard: list[str] = []
    try:
        return asyncio.run(_until_told(url, schema, jobs, heard))
    except asyncio.CancelledError:
        click.echo("kongtask: stopped, nothing is left behind", err=True)
        sys.exit(128 + signal.Signals[heard[0]])


async def _until_told(url: str, schema: str, jobs: int, heard: list[str]) -> Measured:
    """Measure; the first signal ends it, and what was made is dropped. Further ones do nothing."""
    work = asyncio.ensure_future(run_bench(url, schema, jobs, _progress))

    def stop(name: str) -> None:
        heard.append(name)
        _progress("stopping")
        work.cancel()

    with handled_signals(stop, lambda _name: None):
        return await work


def _progress(line: str) -> None:
    click.echo(f"{line} ...", err=True)


def _lines(measured: Measured, url: str) -> Iterator[str]:
    yield f"{describe(url)}, from here:"
    yield f"  round trip            {milliseconds(measured.round_trip_ms):>14}"
    yield f"  commit                {milliseconds(measured.commit_ms):>14}"
    yield f"  adding one by one     {rate(measured.adds_per_second):>14}"
    yield f"  adding {CHUNK:,} in a call {rate(measured.bulk_adds_per_second):>14}"
    yield (
        f"  running               {rate(measured.drained_per_second):>14}"
        f"  {measured.drained:,} that do nothing, {CONCURRENCY} at a time, in one process"
    )
    yield (
        f"  from adding to start  {milliseconds(measured.start_ms):>14}"
        f"  99 % within {milliseconds(measured.start_p99_ms)}"
    )
    for sentence in judgement(measured):
        yield f"- {sentence}"
