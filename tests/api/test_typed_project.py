"""An application's `mypy --strict` finds its mistakes, and nothing in code that has none."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

PROJECT = Path(__file__).parent / "typed_project"
CACHE = Path(__file__).resolve().parents[2] / ".mypy_cache" / "typed_project"


def test_mypy_finds_what_is_wrong_and_nothing_else() -> None:
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", CACHE]
    done = subprocess.run(
        [*map(str, command), "shop.py", "shop_tasks.py", "wrong_shop.py"],
        cwd=PROJECT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    found = re.findall(r"^(\S+):(\d+): error: .*\[(\S+)\]$", done.stdout, re.MULTILINE)
    lines = (PROJECT / "wrong_shop.py").read_text().splitlines()
    expected = [
        ("wrong_shop.py", str(number), code)
        for number, line in enumerate(lines, 1)
        for code in re.findall(r"[a-z-]+", line.partition("# E: ")[2])
    ]
    assert Counter(found) == Counter(expected), done.stdout + done.stderr
