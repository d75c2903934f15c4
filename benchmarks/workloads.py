"""What is measured, how much of it, and with whom."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks import measuring
from benchmarks.measuring import Measure
from benchmarks.participants import (
    EVERYBODY,
    ON_GRAPHILE_TABLES,
    PARTICIPANTS,
    WITH_QUEUES,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One table of the document.

    size: jobs, or seconds where `timed`. least: how little of it still tells something.
    shown: which numbers the table shows, the first of which is drawn. shared: whether slow
    participants are given their usual part of the jobs. parts: other parts that some are given.
    absent: why the others do not take part.
    """

    title: str
    about: str
    measure: Measure
    size: int
    least: int
    participants: tuple[str, ...]
    shown: tuple[str, ...]
    timed: bool = False
    shared: bool = False
    parts: Mapping[str, float] = field(default_factory=dict)
    absent: str = ""

    def amount(self, key: str, scale: float) -> int:
        """Return how many jobs, or seconds, a participant is given."""
        share = self.parts.get(key, PARTICIPANTS[key].share if self.shared else 1.0)
        return max(self.least, round(self.size * scale * share))


DRAINED = (
    "per_second", "wal_bytes_per_job", "transactions_per_job", "processor_us_per_job",
    "machine_share",
)  # fmt: skip
LATENCIES = (
    "p50_ms", "p99_ms", "p999_ms", "add_p50_ms", "added_per_second", "processor_share", "kept_up",
)  # fmt: skip
ONE_A_POLL = (
    "Graphile Worker looks for the next job before the one that ended has freed the queue, so that "
    "each of its 24 workers waits for the next poll, 2 s by default; with a local queue, there is "
    "one poll for all of them. Procrastinate waits for a poll as well, 5 s by default."
)
NO_NAMED_QUEUES = "The others have no named queues whose jobs run one after the other."

WORKLOADS: dict[str, Workload] = {
    "drain": Workload(
        title="No-op jobs",
        about="Handlers do nothing; from the start of the worker until no job is left.",
        measure=measuring.drain, size=200_000, least=1000,
        participants=("raw", "raw-uvloop", *EVERYBODY, "cli", "cli-2"),
        shown=DRAINED, shared=True,
    ),
    "sleep": Workload(
        title="Handlers that wait for 1 ms",
        about="100 jobs at a time, PgQueuer without a limit, as is its default.",
        measure=measuring.sleepers, size=50_000, least=1000, participants=EVERYBODY,
        shown=("per_second", "processor_us_per_job"), shared=True,
    ),
    "latency": Workload(
        title="From adding to starting, at 1,000 jobs a second",
        about="From the call that adds a job to its handler. Jobs on Graphile's tables are added "
        "by the same producer, as rows and notifications such as `add_job` makes, without what it "
        "takes to plan them; the others by their own way of adding one, and so are those of the "
        "rows that name it. The producer waits for nobody, so that who falls behind shows it.",
        measure=measuring.latency, size=20, least=4,
        participants=(*EVERYBODY, "kongtask-adding", "graphile-adding"),
        shown=LATENCIES, timed=True,
    ),
    "one-queue": Workload(
        title="One named queue",
        about="All jobs in one queue, one after the other; the order is checked.",
        measure=measuring.one_queue, size=5000, least=50,
        participants=("kongtask", "graphile-plain", "graphile-polling",
                      "procrastinate-polling"),
        parts={"graphile-plain": 0.02, "procrastinate-polling": 0.1},
        shown=("per_second", "transactions_per_job", "in_order"),
        absent=f"{ONE_A_POLL} {NO_NAMED_QUEUES}",
    ),
    "many-queues": Workload(
        title="Many named queues",
        about="Two jobs in each queue; the order within each is checked.",
        measure=measuring.many_queues, size=20_000, least=1000,
        participants=WITH_QUEUES,
        parts={"graphile-plain": 0.1, "graphile-polling": 0.1, "procrastinate": 0.1},
        shown=("per_second", "transactions_per_job", "in_order"), absent=NO_NAMED_QUEUES,
    ),
    "shallow": Workload(
        title="The first tenth of a backlog, alone in the table",
        about="What the next table is compared with.",
        measure=measuring.shallow, size=1_000_000, least=10_000,
        participants=("kongtask", "graphile"), shown=("per_second",),
    ),
    "deep": Workload(
        title="The first tenth of a deep backlog",
        about="As many jobs are due in a day as now, and a transaction as old as the run keeps "
        "dead rows from being removed.",
        measure=measuring.deep, size=1_000_000, least=10_000,
        participants=("kongtask", "graphile"), shown=("per_second",),
    ),
    "add-bulk": Workload(
        title="Adding many jobs", about="10,000 with a call, one call after the other.",
        measure=measuring.add_bulk, size=100_000, least=1000,
        participants=("raw", "kongtask", "graphile", "pgqueuer", "oban", "chancy", "saq",
                      "procrastinate"),
        shown=("per_second", "wal_bytes_per_job"), shared=True,
    ),
    "add-single": Workload(
        title="Adding one job after the other", about="Each is committed before the next is added.",
        measure=measuring.add_single, size=5000, least=200,
        participants=("raw", "kongtask", "graphile", "pgqueuer", "oban", "chancy", "saq",
                      "procrastinate"),
        shown=("p50_ms", "p99_ms", "per_second", "wal_bytes_per_job"),
    ),
    "retries": Workload(
        title="Failures",
        about="Every job fails once; until all failures are written. That each then succeeds is "
        "checked; transactions and processor time are those of both attempts.",
        measure=measuring.failing, size=10_000, least=500, participants=ON_GRAPHILE_TABLES,
        shown=("per_second", "transactions_per_job", "processor_us_per_job"),
        absent="The others have other rules of retrying.",
    ),
    "idle": Workload(
        title="Doing nothing", about="A worker of ten places on an empty table.",
        measure=measuring.idle, size=15, least=10,
        participants=("kongtask", "graphile", "graphile-plain", "pgqueuer", "oban", "chancy", "saq",
                      "procrastinate"),
        shown=("transactions_per_second", "processor_share", "memory_mib"), timed=True,
    ),
    "memory": Workload(
        title="Memory while draining",
        about="The most that was held while draining all jobs, and a tenth of them.",
        measure=measuring.memory, size=1_000_000, least=10_000,
        participants=("kongtask", "graphile", "pgqueuer"),
        shown=("memory_mib", "tenth_mib", "growth_mib"),
    ),
    "features": Workload(
        title="What the features cost",
        about="No-op jobs, with events that nobody hears, heartbeats and tracing that is off, and "
        "with all of them taken away.",
        measure=measuring.drain, size=100_000, least=2000,
        participants=("kongtask", "kongtask-bare"), shown=("per_second", "processor_us_per_job"),
    ),
    "tracing": Workload(
        title="What tracing costs",
        about="1,000 jobs a second, their spans sampled and sent to a collector.",
        measure=measuring.latency, size=10, least=4,
        participants=("kongtask", "kongtask-traced-tenth", "kongtask-traced"),
        shown=("processor_share", "p50_ms", "p99_ms"), timed=True,
    ),
    "start-up": Workload(
        title="Starting", about="From the start of the command until the handler of a waiting job.",
        measure=measuring.start_up, size=1, least=1, participants=("cli", "graphile"),
        shown=("seconds",), timed=True,
    ),
}  # fmt: skip


def turns(taking_part: Sequence[str], rounds: int) -> Iterator[tuple[int, str]]:
    """Yield the rounds with who is measured, each round in an order of its own, always the same.

    What one leaves behind, such as pages to be written, would else fall to the same one each time.

    >>> [who for _, who in turns("abc", 3)]
    ['a', 'c', 'b', 'a', 'b', 'c', 'b', 'c', 'a']
    """
    chance = random.Random(1)
    for number in range(1, rounds + 1):
        for key in chance.sample(taking_part, len(taking_part)):
            yield number, key
