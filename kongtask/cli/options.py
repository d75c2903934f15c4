"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

Command = Callable[..., Any]


def database_options(command: Command) -> Command:
    """Add -c and -s: which database, and which schema of it."""
    for option in (
        click.option("-s", "--schema", help="Postgres schema. [default: graphile_worker]"),
        click.option("-c", "--connection", metavar="URL", help="Database; default $DATABASE_URL."),
    ):
        command = option(command)
    return command


def log_options(command: Command) -> Command:
    """Add --log-level and --log-format."""
    levels = click.Choice(["debug", "info", "warning", "error"])
    for option in (
        click.option(
            "--log-level", type=levels, default="info", envvar="KONGTASK_LOG_LEVEL",
            show_default=True,
        ),
        click.option(
            "--log-format", type=click.Choice(["text", "json"]), default="text",
            envvar="KONGTASK_LOG_FORMAT", show_default=True,
        ),
    ):  # fmt: skip
        command = option(command)
    return command
