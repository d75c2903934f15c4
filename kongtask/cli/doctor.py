"""The command that looks for what is wrong and says what to do about it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import click

from kongtask.cli.options import database_options
from kongtask.core.diagnosis.finding import Finding
from kongtask.postgres.diagnosis import Diagnosis, diagnose
from kongtask.postgres.pool import close_pool, describe, open_pool
from kongtask.settings import DatabaseSettings, database_settings

SOMETHING_WRONG = 1


@click.command()
@database_options
@click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True
)
def doctor(output: str, **flags: Any) -> None:
    """Look for what is wrong with a queue and its database, and say what to do about it.

    It changes nothing, and shows no payload. The exit code is 1 when something is wrong.
    """
    settings = database_settings(os.environ, flags)
    diagnosis = asyncio.run(_diagnose(settings))
    if output == "json":
        click.echo(json.dumps(_as_json(diagnosis, settings), indent=2))
    else:
        click.echo("\n".join(_lines(diagnosis, settings)))
    sys.exit(0 if diagnosis.is_fine else SOMETHING_WRONG)


async def _diagnose(settings: DatabaseSettings) -> Diagnosis:
    pool = await open_pool(settings.url, max_size=2)
    try:
        return await diagnose(pool, settings.schema)
    finally:
        await close_pool(pool)


def _as_json(diagnosis: Diagnosis, settings: DatabaseSettings) -> dict[str, Any]:
    return {
        "database": describe(settings.url),
        "schema": settings.schema,
        "role": diagnosis.role,
        "is_fine": diagnosis.is_fine,
        "findings": [asdict(finding) for finding in diagnosis.findings],
    }


def _lines(diagnosis: Diagnosis, settings: DatabaseSettings) -> Iterator[str]:
    yield f"{describe(settings.url)}, schema {settings.schema}, as role {diagnosis.role}"
    for finding in diagnosis.findings:
        yield from _finding_lines(finding)
    states = [finding.state for finding in diagnosis.findings]
    yield ", ".join(f"{states.count(state)} {state}" for state in ("wrong", "unknown", "fine"))


def _finding_lines(finding: Finding) -> Iterator[str]:
    yield f"{finding.state:8}{finding.check}: {finding.what}"
    for word, text in (("why", finding.why), ("then", finding.then)):
        if text:
            yield f"        {word}: {text}"
