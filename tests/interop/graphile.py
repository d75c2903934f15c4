"""npm's Graphile Worker as the tests use it: its migrations, its functions, its worker.

Installed by `npm ci` from the lock file beside this module, once for every state of that file.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import re
import shutil
import subprocess
from asyncio.subprocess import PIPE, STDOUT, Process
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parent
MODULES = FOLDER / "node_modules"
INSTALLED = MODULES / ".installed-lock.json"
LATEST = "graphile-worker"
LEVEL_19 = "graphile-worker-0-17"
SCHEMA = "graphile_worker"
BREAKING = (1, 3, 11, 13, 14, 16, 19)
PATIENCE = 60


def install() -> Graphile:
    """Install what the lock file names, unless it is there."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.fail("node and npm not found: install Node.js to test beside Graphile Worker")
    with (FOLDER / "package-lock.json").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # of several test processes, one installs
        lock = file.read()
        if not INSTALLED.is_file() or INSTALLED.read_bytes() != lock:
            done = subprocess.run(
                [npm, "ci", "--no-progress"],
                cwd=FOLDER, capture_output=True, text=True, check=False,
            )  # fmt: skip
            if done.returncode:
                pytest.fail(f"npm ci failed:\n{done.stdout}{done.stderr}")
            INSTALLED.write_bytes(lock)
    return Graphile(node)


@dataclass(frozen=True, slots=True)
class Graphile:
    """Runs Graphile Worker's code with one Node."""

    node: str

    async def start(
        self, url: str, call: str, *arguments: object, schema: str = SCHEMA, package: str = LATEST
    ) -> Process:
        """Start a call of the driver."""
        return await asyncio.create_subprocess_exec(
            self.node, "driver.mjs", package, url, schema, call, json.dumps(arguments),
            cwd=FOLDER, stdin=PIPE, stdout=PIPE, stderr=STDOUT,
        )  # fmt: skip

    async def migrate(self, url: str, *, schema: str = SCHEMA, package: str = LATEST) -> str:
        """Let Graphile Worker migrate a schema; return what it said."""
        return await finished(await self.start(url, "migrate", schema=schema, package=package))

    async def call(self, url: str, call: str, *arguments: object) -> Any:
        """Call a method of Graphile Worker's utilities."""
        return json.loads(
            (await finished(await self.start(url, call, *arguments))).splitlines()[-1]
        )

    async def run_once(self, url: str) -> str:
        """Run every job that is due with the tasks in `tasks`; return the log."""
        process = await asyncio.create_subprocess_exec(
            self.node, str(MODULES / LATEST / "dist" / "cli.js"), "--once", "-c", url,
            cwd=FOLDER, stdin=PIPE, stdout=PIPE, stderr=STDOUT,
        )  # fmt: skip
        return await finished(process)


async def finished(process: Process) -> str:
    """Let a process go on and end; return its output, or fail the test with it."""
    out, _ = await asyncio.wait_for(process.communicate(b"go\n"), PATIENCE)
    assert process.returncode == 0, out.decode()
    return out.decode()


async def make_npm_level(connection: Any, level: int) -> None:
    """Run npm's own migration files up to a level, as an older version of it would have."""
    await connection.execute(
        f"create schema {SCHEMA}; create table {SCHEMA}.migrations "
        "(id int primary key, ts timestamptz default now() not null); "
        f"alter table {SCHEMA}.migrations add column breaking boolean not null default false"
    )
    for number in range(1, level + 1):
        text = (MODULES / LATEST / "sql" / f"{number:06}.sql").read_text(encoding="utf-8")
        async with connection.transaction():
            await connection.execute(
                f"insert into {SCHEMA}.migrations (id, breaking) values ($1, $2)",
                number,
                number in BREAKING,
            )
            await connection.execute(re.sub(r":GRAPHILE_WORKER_SCHEMA\b", SCHEMA, text))
