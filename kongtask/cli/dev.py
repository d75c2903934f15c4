"""The command that runs a pool's manifest on this machine."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import click

from kongtask.errors import ConfigurationError


@click.command()
@click.argument("manifest", type=click.Path(path_type=Path))
@click.option("-c", "--connection", metavar="URL", help="Database; default an embedded one.")
@click.option(
    "--add", "first_jobs", type=(str, str), multiple=True, metavar="TASK JSON",
    help="Add a job when everything is ready; may be given more than once.",
)  # fmt: skip
def dev(manifest: Path, connection: str | None, first_jobs: tuple[tuple[str, str], ...]) -> None:
    """Run the KongTaskPool in MANIFEST on this machine, with no cluster.

    The image is ignored: tasks are imported from the current folder. Without -c an embedded
    Postgres is started, which keeps its data under .kongtask/.
    """
    try:
        from kongtask.dev import run_dev
    except ImportError as error:
        raise ConfigurationError(
            f"kongtask dev needs more packages ({error}): pip install 'kongtask[dev]'"
        ) from error
    sys.exit(
        asyncio.run(
            run_dev(
                manifest,
                database_url=connection,
                say=click.echo,
                environment=os.environ,
                first_jobs=first_jobs,
            )
        )
    )
