"""What worker processes write is read while they write it."""

from __future__ import annotations

from pathlib import Path

from worker_processes import Runs


def test_a_line_that_is_half_written_is_no_run_yet(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    assert runs.notes == []
    with (tmp_path / "runs").open("w") as file:
        for text, found in [("start 7 1 42 3.5\nst", ["start"]), ("art 8 1", ["start"])]:
            file.write(text)
            file.flush()
            assert [each.what for each in runs.notes] == found
        file.write(" 42 3.75\n")
        file.flush()
        assert [each.number for each in runs.notes] == [7, 8]
