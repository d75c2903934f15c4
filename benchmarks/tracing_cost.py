"""What tracing adds to a job, as ratios to the cheapest way: run it by hand on a quiet machine.

    python benchmarks/tracing_cost.py

The budget: at most 1 µs a job with tracing off, 10 µs when a job is not sampled, 60 µs when it is.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from timeit import repeat

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from kongtask.core.attempt import SUCCESS
from kongtask.core.job import Job
from kongtask.core.task_spec import DEFAULT_SPEC
from kongtask.tracing import Tracing

ROUNDS = 5
NOW = datetime(2026, 1, 1, tzinfo=UTC)
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0"
WAYS = {
    "off": (None, "1"),
    "not sampled": (TracerProvider(ALWAYS_OFF, shutdown_on_exit=False), "0"),
    "sampled": (TracerProvider(shutdown_on_exit=False), "1"),
}


def processing(tracing: Tracing, flags: str) -> Callable[[], None]:
    job = Job(
        id=1, task_identifier="mail", attempts=1, traceparent=PARENT + flags,
        run_at=NOW, created_at=NOW, updated_at=NOW,
    )  # fmt: skip

    def once() -> None:
        with tracing.processing(job, worker_id="worker", now=NOW) as attempt:
            attempt.finish(SUCCESS)

    return once


def adding(tracing: Tracing) -> Callable[[], None]:
    def once() -> None:
        with tracing.adding(["mail"], DEFAULT_SPEC) as added:
            added.added([1])

    return once


def microseconds(once: Callable[[], None], number: int = 5000) -> float:
    return min(repeat(once, number=number, repeat=ROUNDS)) / number * 1e6


def main() -> None:
    print(f"{'':14}{'adding':>10}{'ratio':>8}{'processing':>13}{'ratio':>8}")
    base: tuple[float, float] | None = None
    for name, (provider, flags) in WAYS.items():
        tracing = Tracing(tracer_provider=provider)
        found = microseconds(adding(tracing)), microseconds(processing(tracing, flags))
        base = base or found
        print(
            f"{name:14}{found[0]:8.2f}µs{found[0] / base[0]:8.0f}"
            f"{found[1]:11.2f}µs{found[1] / base[1]:8.0f}"
        )


if __name__ == "__main__":
    main()
