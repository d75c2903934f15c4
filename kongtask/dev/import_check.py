"""Imports task modules in a process of its own, as a worker will, and tells what it found.

What a module prints goes to stderr; the answer is the only line on stdout. It runs no task.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

from kongtask.errors import ConfigurationError
from kongtask.worker.tasks import load_tasks


def sources(modules: Iterable[ModuleType], folder: Path) -> Iterator[str]:
    """Yield the files under a folder that modules were read from, installed packages left out."""
    for module in modules:
        file = getattr(module, "__file__", None)
        path = Path(file).resolve() if file else None
        if path is None or not path.is_relative_to(folder):
            continue
        inside = path.relative_to(folder).parts
        if "site-packages" not in inside and not any(part.startswith(".") for part in inside):
            yield str(path)


def main(places: list[str]) -> int:
    """Print the tasks and the files they came from as JSON; exit with 2 and a sentence."""
    sys.path.insert(0, str(Path.cwd()))
    try:
        with contextlib.redirect_stdout(sys.stderr):
            tasks = load_tasks(places)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2
    files = sources(list(sys.modules.values()), Path.cwd().resolve())
    print(json.dumps({"tasks": sorted(tasks), "files": sorted(set(files))}))
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # A thread that a module started must not keep this process.
    os._exit(code)
