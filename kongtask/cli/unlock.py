"""The command that frees what dead pools of workers hold."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from kongtask.cli.options import database_options
from kongtask.core.holders import Holder, held, reason, to_free
from kongtask.core.wording import span
from kongtask.errors import ConfigurationError
from kongtask.postgres.holders import read_holders
from kongtask.settings import DatabaseSettings, database_settings
from kongtask.worker_utils import WorkerUtils

NOT_DONE = 1


@click.command()
@click.argument("pool_ids", metavar="[POOL_ID]...", nargs=-1)
@database_options
@click.option("--dead", is_flag=True, help="Free what all pools hold whose heartbeat is dead.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--force", is_flag=True, help="Also what living pools hold: jobs may run twice.")
@click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True
)
def unlock(
    pool_ids: tuple[str, ...], dead: bool, yes: bool, force: bool, output: str, **flags: Any
) -> None:
    """List who holds locks; with POOL_IDs, or --dead, free what these hold.

    Pools of workers that live free what dead ones hold within seconds. This is for when none runs,
    and for workers of Graphile Worker, whose locks would stand for 4 hours.
    """
    settings = database_settings(os.environ, flags)
    is_json = output == "json"
    if not pool_ids and not dead:
        _tell(asyncio.run(_holders(settings)), settings, is_json)
        return
    if is_json and not yes:
        raise ConfigurationError("-o json cannot ask: add --yes")
    chosen = to_free(asyncio.run(_holders(settings)), pool_ids, dead=dead, force=force)
    if chosen and not yes:
        _ask(chosen)
    names = [holder.pool_id for holder in chosen]
    freed = asyncio.run(_free(settings, names, force=force)) if names else ()
    _tell_freed(freed, is_json)


def _ask(chosen: Sequence[Holder]) -> None:
    for holder in chosen:
        click.echo(_line(holder), err=True)
    if not click.confirm("Unlock? Jobs of a pool that still runs would run twice.", err=True):
        click.echo("nothing was unlocked", err=True)
        sys.exit(NOT_DONE)


async def _holders(settings: DatabaseSettings) -> tuple[Holder, ...]:
    async with await WorkerUtils.connect(settings.url, settings.schema) as utils:
        return await read_holders(utils.pool, settings.schema)


async def _free(
    settings: DatabaseSettings, names: Sequence[str], *, force: bool
) -> tuple[Holder, ...]:
    """Free what these still hold; one that has come back to life meanwhile is refused."""
    async with await WorkerUtils.connect(settings.url, settings.schema) as utils:
        holders = await read_holders(utils.pool, settings.schema)
        still = {holder.pool_id for holder in holders}
        chosen = to_free(holders, [name for name in names if name in still], force=force)
        await utils.force_unlock_workers([holder.pool_id for holder in chosen])
        return chosen


def _tell(holders: Sequence[Holder], settings: DatabaseSettings, is_json: bool) -> None:
    if is_json:
        click.echo(json.dumps([_as_json(holder) for holder in holders], indent=2))
    elif not holders:
        click.echo(f"nothing is locked in schema {settings.schema}")
    for holder in () if is_json else holders:
        click.echo(_line(holder))


def _tell_freed(freed: Sequence[Holder], is_json: bool) -> None:
    if is_json:
        click.echo(json.dumps({"unlocked": [_as_json(holder) for holder in freed]}, indent=2))
    elif not freed:
        click.echo("nothing was locked by them")
    for holder in () if is_json else freed:
        click.echo(f"unlocked {holder.pool_id}: {held(holder)} ({reason(holder)})")


def _line(holder: Holder) -> str:
    host = f" on {holder.pool.host}" if holder.pool and holder.pool.host else ""
    return (
        f"{holder.life:8}{holder.pool_id}{host}: {held(holder)} for up to {span(holder.held_for)} "
        f"({reason(holder)})"
    )


def _as_json(holder: Holder) -> dict[str, Any]:
    pool = holder.pool
    return {
        "pool_id": holder.pool_id,
        "host": pool.host if pool else None,
        "life": holder.life,
        "jobs": holder.jobs,
        "queues": holder.queues,
        "held_for_seconds": holder.held_for.total_seconds(),
        "silent_for_seconds": pool.silent_for.total_seconds() if pool else None,
        "reason": reason(holder),
    }
