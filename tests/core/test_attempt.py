"""What becomes of a run is a value, whatever the run raised."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kongtask.core.attempt import ERROR_LIMIT, error_text, failure, retry_delay
from kongtask.core.control import RetryJob, SnoozeJob, When
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


class Timeless(SnoozeJob):
    def __init__(self) -> None:
        self.args = ("later",)


class Unheard(RetryJob):
    def __init__(self) -> None:
        self.when: Any = "tomorrow"


class Raising(RetryJob):
    def __init__(self) -> None:
        pass

    @property
    def when(self) -> Any:
        raise RuntimeError

    @when.setter
    def when(self, _: object) -> None:
        raise RuntimeError


@pytest.mark.parametrize("error", [Timeless(), Unheard(), Raising()])
@pytest.mark.parametrize("attempts, kind", [(1, "retry"), (25, "failed")])
def test_a_wish_without_a_time_is_a_failure_that_says_so(
    error: SnoozeJob | RetryJob, attempts: int, kind: str
) -> None:
    """Classes of the user's own that leave the constructor out."""
    outcome = failure(a_job(attempts, 25), error)
    name = type(error).__name__
    assert outcome.kind == kind
    assert outcome.message.startswith(f"{name} names no time: ")
    assert outcome.message.endswith("An __init__ of its own must call super().__init__(when)")
    assert outcome.when is None
    assert outcome.retry_delay == (retry_delay(1) if kind == "retry" else None)


@pytest.mark.parametrize("when", [timedelta(hours=1), NOW], ids=["a delay", "a moment"])
def test_a_time_that_is_named_is_kept(when: When) -> None:
    job = a_job(1, 25)
    snoozed, retried = failure(job, SnoozeJob(when)), failure(job, RetryJob(when, "the bank"))
    assert (snoozed.kind, snoozed.when, snoozed.error) == ("snoozed", when, None)
    assert (retried.kind, retried.when, retried.message) == ("retry", when, "the bank")
    assert retried.retry_delay == (when if isinstance(when, timedelta) else None)
