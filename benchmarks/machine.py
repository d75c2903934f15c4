"""What the benchmark ran on, as far as a reader needs it. No names of hosts, users or folders."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import psycopg

_HERE = Path(__file__).parent


def facts(admin: psycopg.Connection[Any]) -> dict[str, Any]:
    """Return the machine, the systems and the database."""
    row = admin.execute("select current_setting('server_version')").fetchone()
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "node": _node(),
        "postgresql": "" if row is None else str(row[0]),
        "commit_us": _commit_microseconds(admin),
    }


def revision() -> str:
    """Return which revision of KongTask is measured, with a `+` if files differ from it."""
    words = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=_HERE)
    return done.stdout.strip() or "unknown"


def busy_seconds() -> float:
    """Return how long all cores together have been at work, whoever it was for."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq + times.steal)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _node() -> str:
    node = shutil.which("node")
    if node is None:
        return "not installed"
    done = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.strip().removeprefix("v")


def _commit_microseconds(admin: psycopg.Connection[Any], count: int = 500) -> float:
    """Return how long a commit takes that has something to flush."""
    admin.execute("create table flushed (n int)")
    begun = time.perf_counter()
    for n in range(count):
        admin.execute("insert into flushed values (%s)", [n])
    took = (time.perf_counter() - begun) / count
    admin.execute("drop table flushed")
    return round(took * 1e6, 1)
