"""The command that prints the SQL of roles."""

from __future__ import annotations

import os

import click

from kongtask.errors import ConfigurationError
from kongtask.postgres.roles import roles_sql
from kongtask.settings import database_settings


@click.command()
@click.option("-s", "--schema", help="Postgres schema. [default: graphile_worker]")
@click.option(
    "--worker-role", "worker_roles", multiple=True, metavar="NAME",
    help="Role that runs jobs and may not migrate; may be given more than once.",
)  # fmt: skip
@click.option(
    "--add-role", "add_roles", multiple=True, metavar="NAME",
    help="Role that adds jobs and reads none; may be given more than once.",
)  # fmt: skip
def roles(schema: str | None, worker_roles: tuple[str, ...], add_roles: tuple[str, ...]) -> None:
    """Print SQL that gives roles what they need. It runs nothing.

    \b
    Read it, then let the owner of the schema run it:
      kongtask roles --worker-role shop_worker --add-role shop_web | psql "$DATABASE_URL"
    """
    if not worker_roles and not add_roles:
        raise ConfigurationError(
            "no role: give --worker-role NAME for workers, --add-role NAME for what only adds jobs"
        )
    # No database is asked, only the schema matters.
    settings = database_settings({**os.environ, "DATABASE_URL": "none"}, {"schema": schema})
    click.echo(roles_sql(settings.schema, worker_roles, add_roles), nl=False)
