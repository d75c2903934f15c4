"""What KongTask sets out to reach: ratios within one run, where there is somebody to compare with.

Pure: medians in, verdicts out. A target that was not measured is neither met nor missed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Medians = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Workload, participant and number."""

Reading = Callable[[Medians], float | None]

OURS = "kongtask"
GRAPHILES = ("graphile", "graphile-plain")
STEADY = 950.0
"""Jobs a second that must have been added where 1,000 were asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A bound on one reading. unit: what stands behind the number.

    hindrance: where the bound is missed, what stands in the way and what would be needed.
    """

    name: str
    reading: Reading
    at_least: float | None = None
    at_most: float | None = None
    unit: str = "×"
    hindrance: str = ""

    @property
    def bound(self) -> str:
        """The bound in words.

        >>> Target(name="idle", reading=lambda _: None, at_most=60, unit=" MiB").bound
        'at most 60 MiB'
        """
        if self.at_least is not None:
            return f"at least {self.at_least:g}{self.unit}"
        return f"at most {self.at_most:g}{self.unit}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a target; `met` is None when it was not measured.

    least, most: what single rounds read.
    """

    target: Target
    measured: float | None
    met: bool | None
    least: float | None = None
    most: float | None = None


def judge(target: Target, medians: Medians, rounds: Sequence[Medians] = ()) -> Verdict:
    """Return whether a target was met, by the medians; rounds only tell how sure that is.

    >>> target = Target(name="drain", reading=value("drain", "kongtask", "per_second"), at_least=9)
    >>> judge(target, {"drain": {"kongtask": {"per_second": 10.0}}}).met
    True
    >>> judge(target, {}).met

    >>> each = [{"drain": {"kongtask": {"per_second": rate}}} for rate in (8.0, 12.0)]
    >>> verdict = judge(target, {"drain": {"kongtask": {"per_second": 10.0}}}, each)
    >>> verdict.least, verdict.most
    (8.0, 12.0)
    """
    measured = target.reading(medians)
    if measured is None or measured != measured:
        return Verdict(target, None, None)
    enough = target.at_least is None or measured >= target.at_least
    little = target.at_most is None or measured <= target.at_most
    singles = [read for each in rounds if (read := target.reading(each)) is not None]
    return Verdict(
        target, measured, enough and little, min(singles, default=None), max(singles, default=None)
    )


def value(workload: str, participant: str, number: str) -> Reading:
    """Read a number as it is."""
    return lambda medians: medians.get(workload, {}).get(participant, {}).get(number)


def ratio(
    workload: str, number: str, *others: str, ours: str = OURS, best: Callable[..., float] = max
) -> Reading:
    """Read a number of ours over the best of the others' that were measured.

    >>> medians = {"drain": {"kongtask": {"per_second": 30.0}, "graphile": {"per_second": 20.0}}}
    >>> ratio("drain", "per_second", "graphile", "absent")(medians)
    1.5
    """

    def read(medians: Medians) -> float | None:
        found = medians.get(workload, {})
        mine = found.get(ours, {}).get(number)
        theirs = [found[other][number] for other in others if number in found.get(other, {})]
        return mine / best(theirs) if mine is not None and theirs and best(theirs) else None

    return read


def at_rate(reading: Reading) -> Reading:
    """Read among those only beside whom jobs were added as fast as they should be.

    Where they were not, the machine was full, and who is slower or faster there says little.

    >>> medians = {"latency": {"us": {"p50_ms": 2.0, "added_per_second": 400.0}}}
    >>> at_rate(value("latency", "us", "p50_ms"))(medians)
    """

    def read(medians: Medians) -> float | None:
        steady = {
            who: found
            for who, found in medians.get("latency", {}).items()
            if found.get("added_per_second", 0.0) >= STEADY
        }
        return reading({**medians, "latency": steady})

    return read


def beside_graphile(quantile: str, ours: str = OURS) -> Reading:
    """Read how long ours takes from adding to starting over Graphile Worker at its fastest."""
    return at_rate(ratio("latency", quantile, *GRAPHILES, ours=ours, best=min))


def beside_itself(quantile: str) -> Reading:
    """Read the same where each adds jobs itself, also where one cannot add them fast enough."""
    return ratio("latency", quantile, "graphile-adding", ours="kongtask-adding", best=min)


def of_both(numerator: Reading, denominator: Reading) -> Reading:
    """Read the quotient of two readings."""

    def read(medians: Medians) -> float | None:
        above, below = numerator(medians), denominator(medians)
        return above / below if above is not None and below else None

    return read


def difference(more: Reading, less: Reading) -> Reading:
    """Read how much more one reading is than another."""

    def read(medians: Medians) -> float | None:
        above, below = more(medians), less(medians)
        return above - below if above is not None and below is not None else None

    return read


def lost(kept: Reading) -> Reading:
    """Read in per cent how much is missing from 1."""

    def read(medians: Medians) -> float | None:
        share = kept(medians)
        return None if share is None else (1 - share) * 100

    return read


TARGETS = (
    Target(
        name="no-op jobs, beside bare asyncpg on the same tables",
        reading=ratio("drain", "per_second", "raw"), at_least=0.9,
        hindrance="one fetch is under way all the time, and beside it KongTask spends about twice "
        "the ceiling's processor time on a job, for all that it does besides. Fetching twice at "
        "once was tried and is slower on two processors (decision 0010).",
    ),
    Target(
        name="no-op jobs, beside Graphile Worker, batched",
        reading=ratio("drain", "per_second", "graphile"), at_least=1.5,
    ),
    Target(
        name="no-op jobs, beside PgQueuer at its fastest",
        reading=ratio("drain", "per_second", "pgqueuer", "pgqueuer-default"), at_least=3,
    ),
    Target(
        name="no-op jobs, two processes beside one",
        reading=ratio("drain", "per_second", "cli", ours="cli-2"), at_least=1.6,
        hindrance="one process leaves less than a fifth of two processors' time unused, and two "
        "leave next to nothing (see the next line and the table): more than half of it is "
        "PostgreSQL's. It needs more processors, or less work in PostgreSQL, where a new version "
        "of a row and its entries in three indexes are most of it.",
    ),
    Target(
        name="no-op jobs, two processes: processors busy, with none left to use",
        reading=value("drain", "cli-2", "machine_share"), at_least=90, unit=" %",
    ),
    Target(
        name="adding to starting at 1,000 jobs/s, median, beside Graphile Worker's best",
        reading=beside_graphile("p50_ms"), at_most=0.7,
        hindrance="adding alone, the same for both, takes half of what Graphile Worker needs for "
        "all of it. Where nothing else happens, 2 ms pass from the call to the handler: 0.95 until "
        "the notification is heard, 0.2 until the fetch is sent, 0.7 until it is answered (0.25 of "
        "PostgreSQL's processor time, 0.2 for the flush of the commit, the rest on the way), 0.15 "
        "until the handler starts. The target leaves 0.3 ms after the notification, less than any "
        "fetch. At 1,000 a second who comes while a fetch is under way waits for what is left of "
        "it, and everybody for a processor: Python's part of such a cycle is 0.5 ms, of which "
        "uvloop saves a fifth. Fetches that overlap were tried, and change nothing where two "
        "processors are shared with PostgreSQL and the producer. A commit that is not flushed "
        "would bring 0.2 ms, and let two workers run one job after a crash of the server.",
    ),
    Target(
        name="the same median, KongTask on uvloop as well",
        reading=beside_graphile("p50_ms", "kongtask-uvloop"), at_most=0.7,
        hindrance="see the line above.",
    ),
    Target(
        name="adding to starting at 1,000 jobs/s, 99th percentile, beside Graphile Worker's best",
        reading=beside_graphile("p99_ms"), at_most=0.7,
        hindrance="what holds up one job in a hundred here is who has the two processors and the "
        "disk just then, which falls to both alike: the single rounds lie far apart.",
    ),
    Target(
        name="the same 99th percentile, KongTask on uvloop as well",
        reading=beside_graphile("p99_ms", "kongtask-uvloop"), at_most=0.7,
        hindrance="see the line above.",
    ),
    Target(
        name="the same median, each adding by its own `add_job`",
        reading=beside_itself("p50_ms"), at_most=0.7,
        hindrance="see above: adding takes KongTask half as long, starting takes both the same.",
    ),
    Target(
        name="the same 99th percentile, each adding by its own `add_job`",
        reading=beside_itself("p99_ms"), at_most=0.7,
        hindrance="see above.",
    ),
    Target(
        name="one named queue",
        reading=value("one-queue", OURS, "per_second"), at_least=1000, unit=" jobs/s",
    ),
    Target(
        name="one named queue, rounds in which the order was kept",
        reading=value("one-queue", OURS, "in_order"), at_least=1, unit="",
    ),
    Target(
        name="many named queues, beside Graphile Worker's best",
        reading=ratio("many-queues", "per_second", *GRAPHILES, "graphile-polling"), at_least=5,
        hindrance="Graphile Worker's local queue takes hundreds of such jobs with one statement, "
        "and loses by less than half to its own rate for jobs without queues; five times as much "
        "would be more than jobs without queues reach here.",
    ),
    Target(
        name="many named queues, beside Graphile Worker without a local queue",
        reading=ratio("many-queues", "per_second", "graphile-plain", "graphile-polling"),
        at_least=5,
    ),
    Target(
        name="adding many, beside Graphile Worker",
        reading=ratio("add-bulk", "per_second", "graphile"), at_least=1.2,
    ),
    Target(
        name="adding one, beside a bare `select add_job(…)`",
        reading=ratio("add-single", "p50_ms", "raw", best=min), at_most=1.1,
    ),
    Target(
        name="deep backlog beside shallow",
        reading=of_both(value("deep", OURS, "per_second"), value("shallow", OURS, "per_second")),
        at_least=0.8,
    ),
    Target(
        name="idle, transactions",
        reading=value("idle", OURS, "transactions_per_second"), at_most=1, unit=" a second",
    ),
    Target(
        name="idle, processor",
        reading=value("idle", OURS, "processor_share"), at_most=0.5, unit=" % of a core",
    ),
    Target(
        name="idle, memory", reading=value("idle", OURS, "memory_mib"), at_most=60, unit=" MiB"
    ),
    Target(
        name="WAL of a no-op job, beside Graphile Worker, batched",
        reading=ratio("drain", "wal_bytes_per_job", "graphile", best=min), at_most=1,
    ),
    Target(
        name="memory while draining, 1 million jobs in a full run",
        reading=value("memory", OURS, "memory_mib"), at_most=150, unit=" MiB",
    ),
    Target(
        name="growth of it from a tenth of the jobs to all",
        reading=value("memory", OURS, "growth_mib"), at_most=5, unit=" MiB",
    ),
    Target(
        name="no-op jobs lost to events, heartbeats and tracing, all unused",
        reading=lost(ratio("features", "per_second", "kongtask-bare")), at_most=5, unit=" %",
    ),
    Target(
        name="processor that tracing takes at 1,000 jobs/s, one in ten sampled",
        reading=difference(
            value("tracing", "kongtask-traced-tenth", "processor_share"),
            value("tracing", OURS, "processor_share"),
        ),
        at_most=5, unit=" % of a core",
        hindrance="an attempt whose span is not kept takes 0.04 ms where Python is slow: half of "
        "it in OpenTelemetry's SDK, which makes ids and asks the sampler, a quarter for the "
        "context in which the handler runs. One that is kept takes five times as much (see the "
        "next line).",
    ),
    Target(
        name="processor that tracing takes at 1,000 jobs/s, all sampled",
        reading=difference(
            value("tracing", "kongtask-traced", "processor_share"),
            value("tracing", OURS, "processor_share"),
        ),
        at_most=5, unit=" % of a core",
        hindrance="a span for each attempt takes 0.1 to 0.2 ms, as fast as Python is: half of it "
        "in OpenTelemetry's SDK, for 15 attributes, three events and a link, half for its encoding "
        "by the exporter; a seventh is KongTask's own part. It would need a sampler that keeps "
        "fewer, or an exporter that encodes in C.",
    ),
    Target(
        name="`kongtask worker` from its start to its first job",
        reading=value("start-up", "cli", "seconds"), at_most=0.4, unit=" s",
        hindrance="where Python is slow: asyncio, asyncpg and click alone take 0.3 of 0.5 s there, "
        "and where it was twice as fast all of it took 0.39 s. Two thirds are imports, and more "
        "than a half of those Python's library, which click and asyncpg need; these two are a "
        "sixth, KongTask's own modules a quarter, where making dataclasses takes the most. It "
        "would need a driver and a command line that load less of the library.",
    ),
)  # fmt: skip
