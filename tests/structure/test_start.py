"""What a command loads before it begins: each module takes time, in each process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from counting import told
from postgres_server import run

from kongtask import WorkerUtils

LATE = (
    "prometheus_client", "pebble", "multiprocessing", "croniter", "json5", "opentelemetry",
    "zoneinfo", "http.server", "kongtask.adapters", "kongtask.bench",
    "kongtask.cli.crontab_file", "kongtask.cli.processes", "kongtask.core.cron", "kongtask.dev",
    "kongtask.operator", "kongtask.postgres.administration", "kongtask.postgres.crontabs",
    "kongtask.spans", "kongtask.telemetry", "kongtask.worker.cron", "kongtask.worker.health",
    "kongtask.worker_utils",
)  # fmt: skip
"""What a worker without crontab, tracing, probes and processes never uses."""

OWN_MODULES = 65
"""Of KongTask's own modules a worker has loaded 63 in its first job; each takes about 0.6 ms."""

OTHER_MODULES = 12
"""And 8 that come with neither click, asyncpg nor uvloop, such as its tasks."""

TELLING_TASKS = """
import gc, sys
from kongtask import task

@task
async def tell(payload, helpers):
    print("frozen", gc.get_freeze_count(), gc.isenabled())
    print(" ".join(sys.modules))
"""


def test_a_worker_runs_its_first_job_without_what_it_does_not_need(
    quiet_url: str, tmp_path: Path
) -> None:
    lines = first_job(quiet_url, tmp_path)
    loaded = set(lines[-1].split())
    libraries = modules("-c", "import sys, asyncpg, click, uvloop; print(*sys.modules)")

    own = {name for name in loaded if name.partition(".")[0] == "kongtask"}
    others = loaded - own - libraries
    told(own=len(own), others=len(others))
    assert sorted(loaded & set(LATE)) == []
    assert len(own) <= OWN_MODULES
    assert len(others) <= OTHER_MODULES, sorted(others)


def test_a_worker_searches_nothing_for_garbage_that_was_there_at_its_start(
    quiet_url: str, tmp_path: Path
) -> None:
    """Some 40,000 objects, again and again, would be an eighth of a start."""
    kind, count, is_enabled = first_job(quiet_url, tmp_path)[-2].split()

    told(frozen=int(count))
    assert (kind, is_enabled) == ("frozen", "True")
    assert int(count) > 20_000


def test_names_of_the_package_are_loaded_when_they_are_used() -> None:
    loaded = modules("-c", "import sys, kongtask; kongtask.Job; print(*sys.modules)")

    own = {name.removeprefix("kongtask.") for name in loaded if name.startswith("kongtask")}
    assert own == {"kongtask", "version", "core", "core.job", "core.unfrozen"}


def test_the_help_of_the_command_line_loads_no_command() -> None:
    ending = "import atexit, sys; atexit.register(lambda: print(*sys.modules))"
    program = f"{ending}; sys.argv[1:] = ['--help']; from kongtask.cli import main; main()"
    loaded = modules("-c", program)

    own = {name for name in loaded if name.startswith("kongtask")}
    assert own == {"kongtask", "kongtask.version", "kongtask.errors", "kongtask.cli"}
    assert "asyncpg" not in loaded


def first_job(url: str, folder: Path) -> list[str]:
    """Return what a worker prints of itself in its first job."""
    (folder / "tasks.py").write_text(TELLING_TASKS)
    run(_add(url, "tell"))
    return printed("-m", "kongtask", "worker", "--once", "-c", url, folder=folder)


def modules(*arguments: str) -> set[str]:
    """Return the words of the last line that a Python program prints."""
    return set(printed(*arguments)[-1].split())


def printed(*arguments: str, folder: Path | None = None) -> list[str]:
    """Return the lines that a Python program prints, in an environment that asks for no traces."""
    untraced = {name: text for name, text in os.environ.items() if not name.startswith("OTEL_")}
    ran = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=untraced, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


async def _add(url: str, task: str) -> None:
    async with await WorkerUtils.connect(url) as utils:
        await utils.add_job(task)
