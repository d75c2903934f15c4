"""Prints the part of requirements.lock that an image needs, hashes and all.

`locked.py dependencies otel` takes the lists of these names in pyproject.toml and everything that
the lock says is there because of them, so that images and the development environment share one
lock. It resolves nothing and talks to nobody.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAME = re.compile(r"[A-Za-z0-9._-]+")
WANTED_BY = re.compile(r"^ +# +(?:via +)?([A-Za-z0-9._-]+)", re.MULTILINE)


def normal(name: str) -> str:
    """Return a package's name the way the lock writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def blocks(lock: str) -> dict[str, str]:
    """Return the lock's entries by package."""
    entries = re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)
    return {normal(_first_name(each)): each for each in entries if "==" in each}


def _first_name(text: str) -> str:
    found = NAME.match(text)
    assert found is not None, text
    return found[0]


def lists(project: Mapping[str, object]) -> dict[str, list[str]]:
    """Return the lists of requirements in a pyproject.toml by name."""
    table = project["project"]
    assert isinstance(table, dict)
    groups = project.get("dependency-groups", {})
    assert isinstance(groups, dict)
    return {"dependencies": table["dependencies"], **table["optional-dependencies"], **groups}


def needed(entries: Mapping[str, str], roots: Iterable[str]) -> Iterator[str]:
    """Yield the packages that the roots stand for, themselves included."""
    found = {normal(_first_name(each)) for each in roots}
    while True:
        more = {name for name, entry in entries.items() if found & _wanted_by(entry)} - found
        if not more:
            break
        found |= more
    yield from sorted(found)


def _wanted_by(entry: str) -> set[str]:
    return {normal(name) for name in WANTED_BY.findall(entry) if name != "via"}


def main(names: list[str]) -> None:
    """Print the entries for the named lists."""
    known = lists(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8")))
    entries = blocks((ROOT / "requirements.lock").read_text(encoding="utf-8"))
    roots = [each for name in names for each in known[name]]
    for name in needed(entries, roots):
        print(entries[name], end="")


if __name__ == "__main__":
    main(sys.argv[1:])
