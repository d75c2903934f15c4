"""The command line: arguments become settings, settings become one call, errors become sentences.

Exit codes: 0 all went well, 1 something is left to be looked at (jobs were cut off, the doctor
found something), 2 something the user can put right. A command's module is loaded when it is used.
"""

from __future__ import annotations

import gc
import importlib
import signal
import sys
from collections.abc import Sequence
from typing import cast

import click

from kongtask.errors import KongTaskError
from kongtask.version import __version__

USERS_MISTAKE = 2

_COMMANDS = {
    "worker": ("kongtask.cli.worker:worker", "Run jobs until stopped."),
    "migrate": (
        "kongtask.cli.migrate:migrate",
        "Create the schema's tables, or bring them up to date.",
    ),
    "add": (
        "kongtask.cli.add:add",
        "Add a job for TASK with a payload of JSON; - reads the payload from standard input.",
    ),
    "jobs": (
        "kongtask.cli.jobs:jobs",
        "List jobs of one state, for example those that failed for good.",
    ),
    "cron": (
        "kongtask.cli.cron:cron_commands",
        "Look at recurring jobs; pause, resume or run them.",
    ),
    "doctor": (
        "kongtask.cli.doctor:doctor",
        "Look for what is wrong with a queue and its database, and say what to do about it.",
    ),
    "unlock": (
        "kongtask.cli.unlock:unlock",
        "List who holds locks; with POOL_IDs, or --dead, free what these hold.",
    ),
    "bench": (
        "kongtask.cli.bench:bench",
        "Measure a database from here, and say what limits a queue on it.",
    ),
    "roles": ("kongtask.cli.roles:roles", "Print SQL that gives roles what they need."),
    "dev": (
        "kongtask.cli.dev:dev",
        "Run the KongTaskPool in MANIFEST on this machine, with no cluster.",
    ),
}
"""Where each command is and what it does, its own first sentence, in the order of the help."""


def main() -> None:
    """Run the command line and exit."""
    try:
        _load(sys.argv[1:2])
        cli(standalone_mode=True)
    except KongTaskError as error:
        complain(error)
        sys.exit(USERS_MISTAKE)
    except KeyboardInterrupt:  # before the command could begin
        sys.exit(128 + signal.SIGINT)


def _load(words: Sequence[str]) -> None:
    """Import the command that is named, and keep the garbage collector away from what is imported.

    It lives as long as the process: to search it again and again takes an eighth of a start.
    """
    gc.disable()
    for name in words:
        _command(name)
    gc.freeze()
    gc.enable()


def _command(name: str) -> click.Command | None:
    if name not in _COMMANDS:
        return None
    module, _, attribute = _COMMANDS[name][0].partition(":")
    return cast(click.Command, getattr(importlib.import_module(module), attribute))


def complain(error: KongTaskError) -> None:
    """Print an error as a sentence, and where it is in the user's text if it knows."""
    click.echo(f"kongtask: {error}", err=True)
    if excerpt := getattr(error, "excerpt", ""):
        click.echo(excerpt, err=True)


class _Commands(click.Group):
    """Imports a command when it is asked for, so that each starts without the others."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        return _command(name)

    def format_commands(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in _COMMANDS.items()])


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="kongtask")
def cli() -> None:
    """Run PostgreSQL jobs written in Python, on Graphile Worker's tables.

    \b
    A first job:
      kongtask migrate -c postgres://localhost/shop
      kongtask add send_email '{"to": "ann@example.com"}' -c postgres://localhost/shop
      kongtask worker -c postgres://localhost/shop -t tasks.py
    """
