"""A folder with tasks."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_process import TASKS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that holds tasks.py."""
    (tmp_path / "tasks.py").write_text(TASKS)
    return tmp_path
