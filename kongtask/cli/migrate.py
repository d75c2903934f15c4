"""The command that brings the schema up to date."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import click

from kongtask.cli.options import database_options, log_options
from kongtask.log_lines import log_to_stderr
from kongtask.postgres.go_layout import migrate_from_go
from kongtask.postgres.migrations import run_migrations
from kongtask.postgres.pool import close_pool, describe, open_pool
from kongtask.settings import database_settings


@click.command()
@database_options
@click.option(
    "--from-kongtask-go", is_flag=True, help="Move the jobs of KongTask for Go; keeps its tables."
)
@log_options
def migrate(log_level: str, log_format: Any, from_kongtask_go: bool, **flags: Any) -> None:
    """Create the schema's tables, or bring them up to date. Safe to run at any time."""
    log_to_stderr(log_format, log_level)
    settings = database_settings(os.environ, flags)

    async def run() -> str:
        pool = await open_pool(settings.url, max_size=1)
        try:
            if from_kongtask_go:
                return (
                    f"holds {await migrate_from_go(pool, settings.schema)} jobs of KongTask for Go"
                )
            return f"is at level {await run_migrations(pool, settings.schema)}"
        finally:
            await close_pool(pool)

    click.echo(f"schema {settings.schema} of {describe(settings.url)} {asyncio.run(run())}")
