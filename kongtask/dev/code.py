"""The code of a pool's tasks as it stands in a folder: whether it imports, and when it changed.

Here it takes the place of the image: other code means another revision of the workers.
"""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kongtask.errors import ConfigurationError
from kongtask.operator.revision import short_hash

Stamps = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCode:
    """The tasks that modules hold, and the files of the folder they came from."""

    tasks: tuple[str, ...]
    files: tuple[Path, ...]

    def fingerprint(self) -> str:
        """Return a text that changes with what the files hold."""
        return short_hash([[str(each), _content(each)] for each in self.files])


def stamps(paths: Iterable[Path]) -> Stamps:
    """Return what changes when one of the files does, without reading them."""
    return tuple(_stamp(path) for path in paths)


def _stamp(path: Path) -> tuple[str, int, int]:
    try:
        found = path.stat()
    except OSError:
        return str(path), 0, -1
    return str(path), found.st_mtime_ns, found.st_size


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


async def check_code(
    modules: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> TaskCode:
    """Import the modules in another process; raises `ConfigurationError` when one does not."""
    if not modules:
        raise ConfigurationError(
            "spec.tasks.modules is empty: name the modules of this folder that hold your tasks"
        )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "kongtask.dev.import_check", *modules,
        cwd=folder, env=dict(environment), stdin=DEVNULL, stdout=PIPE, stderr=PIPE,
    )  # fmt: skip
    try:
        output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode == 0 and output:
        return _answer(output)
    said = errors.decode(errors="replace").strip().splitlines()
    ended = f"importing {', '.join(modules)} ended the process: correct what ends it"
    raise ConfigurationError(said[-1] if said and process.returncode else ended)


def _answer(output: bytes) -> TaskCode:
    """Read the last line; what stands before it was written by the modules themselves."""
    answer = json.loads(output.splitlines()[-1])
    return TaskCode(
        tasks=tuple(answer["tasks"]), files=tuple(Path(each) for each in answer["files"])
    )
