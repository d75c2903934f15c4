"""Installs each peer apart, in a folder that Git ignores, and remembers what could not be."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path

from benchmarks.participants import Participant

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".kongtask" / "benchmarks"
PEERS = Path(__file__).with_name("peers")
RUNNERS = Path(__file__).with_name("runners")
NEWER_PYTHONS = ("python3.12", "python3.13", "python3.14")
PYENV = "~/.pyenv/versions/3.1[2-9]*/bin/python"
OWN = "kongtask"
NODE = "graphile"


class NotInstalled(Exception):
    """A peer cannot take part here; the message says why."""


@dataclass(slots=True)
class Environments:
    """Where participants are installed; installs on first use, and fails as often as asked."""

    failures: dict[str, str] = field(default_factory=dict)

    def command(self, participant: Participant) -> list[str]:
        """Return how to start a participant's runner; raises `NotInstalled`."""
        return self.script(participant.family.environment, participant.family.script)

    def script(self, environment: str, script: str) -> list[str]:
        """Return how to start a script in an environment; raises `NotInstalled`."""
        self._install(environment)
        if environment == NODE:
            return [_found("node"), str(RUNNERS / script)]
        return [str(python_of(environment)), str(RUNNERS / script)]

    def variables(self, participant: Participant) -> dict[str, str]:
        """Return the environment variables that a runner is started with."""
        chosen = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PG", "OTEL_", "KONGTASK_", "DATABASE_URL"))
        }
        own_uvloop = participant.settings.get("uvloop") and participant.family.environment == OWN
        return chosen | {
            "PYTHONPATH": str(self.uvloop()) if own_uvloop else "",
            "GRAPHILE_PACKAGE": str(CACHE / NODE / "package.json"),
        }

    def uvloop(self) -> Path:
        """Return the folder with uvloop for those that run in the project's own environment."""
        self._install("uvloop")
        return CACHE / "uvloop"

    def python(self, environment: str) -> Path:
        """Return the Python of an environment of ours, installed."""
        self._install(environment)
        return python_of(environment)

    def versions(self, participant: Participant) -> str:
        """Return the version of what is measured."""
        family = participant.family
        if family.environment == NODE:
            self._install(NODE)
            words = [_found("node"), "-p", f"require({str(_graphile_json())!r}).version"]
        else:
            code = f"import importlib.metadata as m; print(m.version({family.package!r}))"
            words = [str(self.python(family.environment)), "-c", code]
        return _output(words)

    def _install(self, environment: str) -> None:
        if environment == OWN:
            return
        if environment in self.failures:
            raise NotInstalled(self.failures[environment])
        try:
            _install(environment)
        except NotInstalled as error:
            self.failures[environment] = str(error)
            raise


def python_of(environment: str) -> Path:
    """Return where the Python of an environment is."""
    if environment == OWN:
        return Path(sys.executable)
    return CACHE / environment / "bin" / "python"


def _install(environment: str) -> None:
    listed = PEERS / ("package-lock.json" if environment == NODE else f"{environment}.txt")
    mark = CACHE / f"{environment}.installed"
    wanted = hashlib.sha256(listed.read_bytes()).hexdigest()
    if mark.is_file() and mark.read_text() == wanted:
        return
    print(f"installing {environment}", file=sys.stderr)
    folder = CACHE / environment
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if environment == NODE:
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(PEERS / name, folder)
        _output([_found("npm"), "ci", "--no-progress"], folder)
    elif environment == "uvloop":
        _pip(Path(sys.executable), listed, "--target", str(folder))
    else:
        _output([_python_for(listed), "-m", "venv", str(folder)])
        _pip(python_of(environment), listed)
    mark.write_text(wanted)


def _pip(python: Path, listed: Path, *further: str) -> None:
    quiet = ("--quiet", "--disable-pip-version-check", "--prefer-binary")
    _output([str(python), "-m", "pip", "install", *quiet, *further, "-r", str(listed)])


def _python_for(listed: Path) -> str:
    """Return this Python, or a newer one when the list says `# needs Python 3.12`."""
    if "# needs Python 3.12" not in listed.read_text() or sys.version_info >= (3, 12):
        return sys.executable
    for name in (*NEWER_PYTHONS, *sorted(glob(os.path.expanduser(PYENV)))):
        if shutil.which(name) and _works(name):
            return name
    raise NotInstalled(f"it needs Python 3.12 or newer: {', '.join(NEWER_PYTHONS)} not found")


def _works(python: str) -> bool:
    done = subprocess.run([python, "-c", ""], capture_output=True, check=False)
    return done.returncode == 0


def _graphile_json() -> Path:
    return CACHE / NODE / "node_modules" / "graphile-worker" / "package.json"


def _found(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise NotInstalled(f"{program} is not installed")
    return path


def _output(words: list[str], folder: Path | None = None) -> str:
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise NotInstalled(f"{Path(words[0]).name} failed: {' '.join(last)[:300]}")
    return done.stdout.strip()
