"""What participants say to the harness arrives as lines, however many say something at once."""

from __future__ import annotations

import asyncio
import json
import runpy
import sys

import pytest

from benchmarks.environments import RUNNERS


def test_a_worker_tells_of_its_first_job_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes share a pipe: a line in two pieces may have another's within."""
    written: list[str] = []
    bench = runpy.run_path(str(RUNNERS / "cli_tasks" / "tasks.py"))["bench"]
    with monkeypatch.context() as patched:
        patched.setattr(sys.stdout, "write", written.append)
        for _ in range(2):
            asyncio.run(bench({}, None))
    [line] = written
    assert json.loads(line)["event"] == "first"
    assert line.endswith("\n")
