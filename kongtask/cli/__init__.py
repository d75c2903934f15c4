"""The command line: arguments become settings, settings become one call, errors become sentences.

Exit codes: 0 all went well, 1 something is left to be looked at (jobs were cut off, the doctor
found something), 2 something the user can put right. A command's module is loaded when it is used.
"""

from __future__ import annotations

import importlib
import sys
from typing import cast

import click

import kongtask
from kongtask.errors import KongTaskError

USERS_MISTAKE = 2

_COMMANDS = {
    "worker": "kongtask.cli.worker:worker",
    "migrate": "kongtask.cli.migrate:migrate",
    "add": "kongtask.cli.add:add",
    "jobs": "kongtask.cli.jobs:jobs",
    "cron": "kongtask.cli.cron:cron_commands",
    "doctor": "kongtask.cli.doctor:doctor",
    "unlock": "kongtask.cli.unlock:unlock",
    "bench": "kongtask.cli.bench:bench",
    "roles": "kongtask.cli.roles:roles",
    "dev": "kongtask.cli.dev:dev",
}
"""Where each command is, in the order in which help lists them."""


def main() -> None:
    """Run the command line and exit."""
    try:
        cli(standalone_mode=True)
    except KongTaskError as error:
        complain(error)
        sys.exit(USERS_MISTAKE)


def complain(error: KongTaskError) -> None:
    """Print an error as a sentence, and where it is in the user's text if it knows."""
    click.echo(f"kongtask: {error}", err=True)
    if excerpt := getattr(error, "excerpt", ""):
        click.echo(excerpt, err=True)


class _Commands(click.Group):
    """Imports a command when it is asked for, so that a worker starts without the others."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[name].partition(":")
        return cast(click.Command, getattr(importlib.import_module(module), attribute))


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(kongtask.__version__, prog_name="kongtask")
def cli() -> None:
    """Run PostgreSQL jobs written in Python, on Graphile Worker's tables.

    \b
    A first job:
      kongtask migrate -c postgres://localhost/shop
      kongtask add send_email '{"to": "ann@example.com"}' -c postgres://localhost/shop
      kongtask worker -c postgres://localhost/shop -t tasks.py
    """
