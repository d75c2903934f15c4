"""What becomes of a run is a value, whatever the run raised."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from kongtask.core.attempt import ERROR_LIMIT, error_text, failure, retry_delay
from kongtask.core.job import Job

NOW = datetime(2026, 3, 4, tzinfo=UTC)


def a_job(attempts: int, max_attempts: int) -> Job:
    return Job(
        id=1, task_identifier="t", run_at=NOW, created_at=NOW, updated_at=NOW,
        attempts=attempts, max_attempts=max_attempts,
    )  # fmt: skip


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    "attempts, seconds",
    [(0, 1.0), (1, 2.718), (2, 7.389), (3, 20.086), (5, 148.413), (10, 22026.466), (25, 22026.466)],
)
def test_the_delay_grows_with_the_attempts_up_to_the_tenth(attempts: int, seconds: float) -> None:
    assert retry_delay(attempts).total_seconds() == pytest.approx(seconds, abs=0.001)


@pytest.mark.parametrize(
    "attempts, max_attempts, kind",
    [(1, 25, "retry"), (24, 25, "retry"), (25, 25, "failed"), (26, 25, "failed"), (1, 1, "failed")],
)
def test_the_last_attempt_fails_for_good(attempts: int, max_attempts: int, kind: str) -> None:
    error = ValueError("no")
    outcome = failure(a_job(attempts, max_attempts), error)
    assert (outcome.kind, outcome.error, outcome.message) == (kind, error, "no")
    expected = retry_delay(attempts) if kind == "retry" else None
    assert outcome.retry_delay == expected
    assert expected is None or expected > timedelta(0)


@pytest.mark.parametrize(
    "error, text",
    [(ValueError("no"), "no"), (ValueError(), "ValueError"), (ValueError(" \n"), "ValueError"),
     (Unprintable(), "Unprintable"), (KeyError("k"), "'k'"), (SystemExit(2), "2"),
     (ValueError("x" * ERROR_LIMIT), "x" * ERROR_LIMIT),
     (ValueError("x" * (ERROR_LIMIT + 1)), "x" * (ERROR_LIMIT - 1) + "…")],
    ids=["text", "none", "blank", "unprintable", "key", "exit", "at the limit", "beyond it"],
)  # fmt: skip
def test_the_text_of_an_error_is_its_message_or_its_class(error: BaseException, text: str) -> None:
    assert error_text(error) == text
