"""Options that cannot work are refused by name, with what was given."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest
from worker_words import Lines

from kongtask import ConfigurationError, ScopedLogger, StandardLogger, WorkerPoolOptions


@pytest.mark.parametrize(
    "field, value",
    [("concurrency", 0), ("concurrency", 10_001), ("concurrency", "4"), ("concurrency", True),
     ("concurrency", 1.5), ("max_pool_size", 0), ("poll_interval", timedelta(0)),
     ("poll_interval", 2), ("drain_timeout", timedelta(seconds=-1)), ("drain_timeout", 5),
     ("schema", ""), ("schema", "x" * 64), ("schema", "a\0b")],
)  # fmt: skip
def test_an_option_that_cannot_work_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{field} must .*, got ") as it:
        WorkerPoolOptions(**{field: value})
    assert repr(value)[:80] in str(it.value)


def test_flags_given_as_one_text_are_refused() -> None:
    """Its letters would be taken for flags."""
    with pytest.raises(ConfigurationError, match=r"^forbidden_flags must .*, got 'heavy'"):
        WorkerPoolOptions(forbidden_flags="heavy")


def test_a_bus_that_only_looks_like_one_is_refused() -> None:
    """What it would raise, or not know, would end workers with jobs in their hands."""

    class Bus:
        def on(self, *_: Any) -> None: ...

        emit = settle = on

    with pytest.raises(ConfigurationError, match=r"^events must be an EventBus, got <"):
        WorkerPoolOptions(events=Bus())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changed",
    [{}, {"concurrency": 10_000}, {"drain_timeout": timedelta(0)}, {"schema": 'odd "name"'},
     {"poll_interval": timedelta(milliseconds=1)}],
)  # fmt: skip
def test_options_at_the_edge_are_taken(changed: dict[str, Any]) -> None:
    WorkerPoolOptions(**changed)


def test_the_standard_logger_hands_lines_to_logging(caplog: pytest.LogCaptureFixture) -> None:
    error = ValueError("no")
    with caplog.at_level(logging.DEBUG, "kongtask"):
        logger = StandardLogger()
        logger.debug("a")
        logger.info("b %s", {"n": 1})
        logger.warn("c")
        logger.error("d", {"exception": error})
    assert [(each.levelname, each.getMessage()) for each in caplog.records] == [
        ("DEBUG", "a"), ("INFO", "b %s"), ("WARNING", "c"), ("ERROR", "d"),
    ]  # fmt: skip
    assert caplog.records[1].__dict__["meta"] == {"n": 1}
    assert caplog.records[3].exc_info is not None
    assert caplog.records[3].exc_info[1] is error


@pytest.mark.parametrize("given, levels", [("warning", ["warn", "error"]), ("debug", None)])
def test_a_logger_tells_which_levels_go_anywhere(
    given: str, levels: list[str] | None, caplog: pytest.LogCaptureFixture
) -> None:
    every = ["debug", "info", "warn", "error"]
    with caplog.at_level(given.upper(), "kongtask"):
        logger = StandardLogger()
        assert [level for level in every if logger.is_on(level)] == (levels or every)
        with pytest.raises(ValueError, match="one of debug, info, warn, error, got 'warning'"):
            logger.is_on("warning")


def test_a_scoped_logger_adds_its_facts_and_the_line_wins() -> None:
    lines = Lines()
    logger = ScopedLogger(lines, {"job": 1}).scope(part="x")
    logger.debug("a")
    logger.info("b", {"job": 2})
    logger.warn("c")
    logger.error("d")
    assert lines.lines == [
        ("debug", "a", {"job": 1, "part": "x"}),
        ("info", "b", {"job": 2, "part": "x"}),
        ("warn", "c", {"job": 1, "part": "x"}),
        ("error", "d", {"job": 1, "part": "x"}),
    ]
