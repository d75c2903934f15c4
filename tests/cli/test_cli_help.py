"""The help says of each command what the command says of itself, without loading it."""

from __future__ import annotations

import click
import pytest

from kongtask.cli import cli

CONTEXT = click.Context(cli)
COMMANDS = cli.list_commands(CONTEXT)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_listed_with_its_own_first_sentence(name: str) -> None:
    command = cli.get_command(CONTEXT, name)
    listed = cli.get_help(CONTEXT).partition("Commands:")[2]

    assert command is not None
    own = f"{name} {command.get_short_help_str(limit=1000)}"
    assert own in " ".join(listed.split())


def test_a_command_that_is_not_there_is_none() -> None:
    assert cli.get_command(CONTEXT, "wroker") is None
