"""What the documentation shows is run: Python blocks as programs, `$` lines in a shell.

A Python block with `file=NAME` is written to that file. A page's blocks run in order, in a folder
and on a database of the page's own. Blocks of another kind are not run here.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    page
    for page in sorted([ROOT / "README.md", *ROOT.glob("docs/*.md")])
    if re.search(r"^```(python|console|sql)", page.read_text(), re.MULTILINE)
]
TEXTS = {page: page.read_text() for page in PAGES}
BLOCK = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```", re.MULTILINE | re.DOTALL)


def run(command: list[str], folder: Path, url: str) -> None:
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "DATABASE_URL": url, "PATH": programs}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout}{done.stderr}"


async def run_sql(text: str, url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(text)
    finally:
        await connection.close()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
async def test_what_a_page_shows_works(page: Path, tmp_path: Path, database_url: str) -> None:
    for language, name, text in BLOCK.findall(TEXTS[page]):
        if name:
            (tmp_path / name).write_text(text)
        elif language == "python":
            run([sys.executable, "-c", text], tmp_path, database_url)
        elif language == "console":
            lines = [line[2:] for line in text.splitlines() if line.startswith("$ ")]
            assert lines, f"a console block without a $ line in {page.name}"
            for line in lines:
                run(["bash", "-c", line], tmp_path, database_url)
        elif language == "sql":
            await run_sql(text, database_url)


def test_links_lead_somewhere() -> None:
    broken = [
        f"{page.name}: {target}"
        for page in [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), ROOT / "CONTRIBUTING.md"]
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert broken == []
