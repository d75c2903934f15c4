"""How `make test` shares out the tests to processes: file by file, the longest suite first.

A suite of `TOGETHER` stays in one process, so that its tests run one after another: those of faults
watch how soon real processes notice something, those of `kongtask dev` start servers as one user.
"""

from __future__ import annotations

import pytest
from xdist.scheduler import LoadScopeScheduling

TOGETHER = ("tests/faults/", "tests/dev/")


class SharingOut(LoadScopeScheduling):
    """Gives a process the tests of one scope, and then the next scope that nobody has."""

    def _split_scope(self, nodeid: str) -> str:
        return scope(nodeid)


def scope(nodeid: str) -> str:
    """Return what a test must share a process with: its suite or its file."""
    file = nodeid.partition("::")[0]
    return next((suite for suite in TOGETHER if file.startswith(suite)), file)


def order(items: list[pytest.Item]) -> None:
    """Put the suites that stay together first: begun last, one would keep the run waiting."""
    items.sort(key=lambda item: scope(item.nodeid) not in TOGETHER)
