"""Lines reach the real structlog, with their facts, and nothing a fact is called does harm."""

from __future__ import annotations

import subprocess
import sys

import pytest
import structlog
from structlog.testing import LogCapture

from kongtask import ScopedLogger, StructlogLogger


@pytest.fixture
def capture() -> LogCapture:
    return LogCapture()


@pytest.fixture
def logger(capture: LogCapture) -> StructlogLogger:
    return StructlogLogger(structlog.wrap_logger(None, processors=[capture]))


def test_each_method_is_a_level(logger: StructlogLogger, capture: LogCapture) -> None:
    logger.debug("a")
    logger.info("b %s", {"n": 1})
    logger.warn("c")
    ScopedLogger(logger, {"job": 12}).error("d")
    assert capture.entries == [
        {"log_level": "debug", "event": "a"},
        {"log_level": "info", "event": "b %s", "n": 1},
        {"log_level": "warning", "event": "c"},
        {"log_level": "error", "event": "d", "job": 12},
    ]


def test_an_exception_brings_its_traceback(logger: StructlogLogger, capture: LogCapture) -> None:
    error = ValueError("no")
    logger.error("failed", {"exception": error})
    assert capture.entries[0]["exc_info"] is error


def test_facts_of_structlogs_own_names_are_kept(
    logger: StructlogLogger, capture: LogCapture
) -> None:
    facts = {"event": 1, "self": 2, "level": 3, "exc_info": 4, "timestamp": 5, "logger": 6}
    logger.warn("odd", facts)
    entry = capture.entries[0]
    assert entry["event"] == "odd"
    assert {key: entry[f"{key}_"] for key in facts} == facts


def test_the_default_configuration_takes_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    StructlogLogger(structlog.get_logger()).info("sending", {"to": "ann"})
    out = capsys.readouterr().out
    assert "sending" in out
    assert "ann" in out


def test_kongtask_imports_no_structlog() -> None:
    code = "import sys, kongtask; sys.exit('structlog' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
