"""Long tests stand beside those of Graphile Worker, whose processes they start."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "interop"))

from graphile import Graphile, install


@pytest.fixture(scope="session")
def node() -> Graphile:
    """Graphile Worker, installed once."""
    return install()
