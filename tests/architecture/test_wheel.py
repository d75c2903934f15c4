"""The wheel works by itself: what stands beside the package in the checkout is inside it."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import asyncpg
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what installing the wheel would put there."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    [wheel] = folder.glob("*.whl")
    site = folder / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


def run(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=site, env=environment, capture_output=True, text=True
    )


def test_the_unpacked_package_is_the_one_that_runs(unpacked: Path) -> None:
    done = run(unpacked, "-c", "import kongtask; print(kongtask.__file__)")

    assert Path(done.stdout.strip()).is_relative_to(unpacked)


async def test_it_migrates_outside_the_checkout(unpacked: Path, empty_database_url: str) -> None:
    done = run(unpacked, "-m", "kongtask", "migrate", "-c", empty_database_url)

    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    connection = await asyncpg.connect(empty_database_url)
    try:
        added = await connection.fetchval("select (graphile_worker.add_job('a')).id")
    finally:
        await connection.close()
    assert added == 1


def test_it_brings_definition_and_manifests(unpacked: Path) -> None:
    for name in ("crds/kongtaskpool.yaml", "manifests/base/kustomization.yaml", "py.typed"):
        assert (unpacked / "kongtask" / name).is_file(), name


def test_it_is_licensed_and_has_its_commands(unpacked: Path) -> None:
    [metadata] = unpacked.glob("kongtask-*.dist-info")
    commands = (metadata / "entry_points.txt").read_text()

    assert "MIT License" in (metadata / "licenses" / "LICENSE").read_text()
    assert "kongtask = kongtask.cli:main" in commands
    assert "kongtask-operator = kongtask.operator.entry:main" in commands
