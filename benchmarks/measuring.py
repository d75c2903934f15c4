"""How each workload is measured, once, with one participant. All return plain numbers."""

from __future__ import annotations

import compileall
import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.collector import span_collector
from benchmarks.environments import CACHE, NODE, ROOT, RUNNERS
from benchmarks.laboratory import Fill, Laboratory, Observer
from benchmarks.machine import busy_seconds
from benchmarks.participants import Participant
from benchmarks.running import RunFailed, Runner
from benchmarks.targets import STEADY

Found = dict[str, float]
Measure = Callable[[Laboratory, Participant, int], Found]

PATIENCE = 240.0
"""Seconds after which a run has failed."""

CATCHING_UP = 15.0
"""Seconds that a worker may take for what is left when the steady adding has ended."""

LOOK = 0.02
"""Seconds between two looks whether jobs are left, where the runner does not count them."""

SETTLING = 14.0
"""Seconds within which an idle session tells how much it has committed, starting included."""

RATE = 1000
SLEEPERS = 100
FAILURES_RECORDED = (
    "select 1 from graphile_worker._private_jobs "
    "where attempts = 0 or locked_at is not null limit 1"
)
HELD_BACK = "begin isolation level repeatable read; select count(*) from pg_class"


def drain(lab: Laboratory, who: Participant, jobs: int) -> Found:
    """Handlers that do nothing, from the start of the worker until no job is left."""
    return _drain(lab, who, Fill(jobs=jobs), kind="nothing")


def sleepers(lab: Laboratory, who: Participant, jobs: int) -> Found:
    """Handlers that wait for 1 ms."""
    return _drain(lab, who, Fill(jobs=jobs), kind="sleep", concurrency=SLEEPERS)


def one_queue(lab: Laboratory, who: Participant, jobs: int) -> Found:
    """All jobs in one named queue."""
    return _drain(lab, who, Fill(jobs=jobs, queues=1), kind="ordered", queues=1)


def many_queues(lab: Laboratory, who: Participant, jobs: int) -> Found:
    """Named queues of two jobs each."""
    queues = max(1, jobs // 2)
    return _drain(lab, who, Fill(jobs=jobs, queues=queues), kind="ordered", queues=queues)


def failing(lab: Laboratory, who: Participant, jobs: int) -> Found:
    """Jobs that fail once: until all failures are written. The later success is checked."""
    return _drain(lab, who, Fill(jobs=jobs), kind="failing", pending=FAILURES_RECORDED, to_end=True)


def _drain(
    lab: Laboratory, who: Participant, fill: Fill, *, kind: str, pending: str | None = None,
    to_end: bool = False, **order: Any,
) -> Found:  # fmt: skip
    with ExitStack() as stack:
        dsn = stack.enter_context(lab.database(who, fill))
        observer = stack.enter_context(lab.observer(dsn))
        order = {"kind": kind, "jobs": fill.jobs, **order}
        runner = stack.enter_context(lab.start(who, dsn, "work", **order))
        runner.expect("ready", PATIENCE)
        before, meter = runner.usage(), lab.meter(dsn)
        meter.start()
        begun, busy = runner.tell("go"), busy_seconds()
        if not who.counts:
            begun, busy = runner.expect("first", PATIENCE)["at"], busy_seconds()
        else:
            runner.expect("handled", PATIENCE)
        ended = observer.wait_until_gone(
            pending or who.home.pending, PATIENCE, *(() if who.counts else (LOOK,))
        )
        busy = busy_seconds() - busy
        if to_end:
            observer.wait_until_gone(who.home.pending, PATIENCE, LOOK)
        used = runner.usage()
        done = _stopped(runner)
        observer.flush_statistics()
        wal, commits = meter.stop(observer.queries)
        return {
            "per_second": fill.jobs / (ended - begun),
            "wal_bytes_per_job": wal / fill.jobs,
            "transactions_per_job": commits / fill.jobs,
            "processor_us_per_job": (used.processor_seconds - before.processor_seconds)
            / fill.jobs
            * 1e6,
            "machine_share": busy / (ended - begun) / (os.cpu_count() or 1) * 100,
            "memory_mib": used.resident,
            "in_order": float(done["in_order"]),
        }


def shallow(lab: Laboratory, who: Participant, jobs: int) -> Found:
    """The first tenth of what `deep` holds, alone in the table."""
    return _first(lab, who, Fill(jobs=jobs // 10), jobs // 10, held_back=False)


def deep(lab: Laboratory, who: Participant, jobs: int) -> Found:
    """The first tenth of a deep backlog, as many jobs due in a day, dead rows held back."""
    return _first(lab, who, Fill(jobs=jobs, future=jobs), jobs // 10, held_back=True)


def _first(lab: Laboratory, who: Participant, fill: Fill, count: int, held_back: bool) -> Found:
    with ExitStack() as stack:
        dsn = stack.enter_context(lab.database(who, fill))
        holding = stack.enter_context(lab.observer(dsn))
        if held_back:
            holding.connection.execute(HELD_BACK)
        runner = stack.enter_context(lab.start(who, dsn, "work", jobs=count))
        runner.expect("ready", PATIENCE)
        begun = runner.tell("go")
        ended = runner.expect("handled", PATIENCE)["at"]
        _stopped(runner)
        return {"per_second": count / (ended - begun)}


def latency(lab: Laboratory, who: Participant, seconds: int) -> Found:
    """1,000 jobs a second added steadily; from the call that adds a job to its handler."""
    jobs = RATE * seconds
    with ExitStack() as stack:
        variables = _traced(stack, who)
        dsn = stack.enter_context(lab.database(who, Fill()))
        observer = stack.enter_context(lab.observer(dsn))
        who = replace(who, settings={**who.settings, **variables})
        order = {"kind": "latency", "jobs": jobs, "rate": RATE}
        runner = stack.enter_context(lab.start(who, dsn, "work", **order))
        adder = stack.enter_context(lab.start_adding(who, dsn, jobs=jobs, rate=RATE))
        for each in (runner, adder):
            each.expect("ready", PATIENCE)
        runner.tell("go")
        runner.expect("started", PATIENCE)
        time.sleep(1)  # it listens and has looked for jobs once
        before = runner.usage()
        begun = adder.tell("go")
        added = adder.expect("done", PATIENCE)
        used, took = runner.usage(), time.monotonic() - begun
        kept_up = _kept_up(observer, who, added["rate"])
        found = _stopped(runner)
        if "p50_ms" not in found:
            raise RunFailed("no job was started")
        return {
            **{name: found[name] for name in ("p50_ms", "p99_ms", "p999_ms", "max_ms")},
            "add_p50_ms": added["p50_ms"],
            "added_per_second": added["rate"],
            "kept_up": kept_up,
            "processor_share": (used.processor_seconds - before.processor_seconds) / took * 100,
        }


def _traced(stack: ExitStack, who: Participant) -> dict[str, Any]:
    """Have every span sent to a collector that counts and forgets, for who is traced."""
    if "sampler" not in who.settings:
        return {}
    url = stack.enter_context(span_collector())
    return {
        "tracing": {
            "OTEL_EXPORTER_OTLP_ENDPOINT": url,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_TRACES_SAMPLER": who.settings["sampler"],
            "OTEL_TRACES_SAMPLER_ARG": "0.1",
        }
    }


def _kept_up(observer: Observer, who: Participant, added_per_second: float) -> float:
    """Whether jobs could be added as fast as they should, and the last ones were soon done."""
    if added_per_second < STEADY:
        return 0.0
    try:
        observer.wait_until_gone(who.home.pending, CATCHING_UP, LOOK)
    except RunFailed:
        return 0.0
    return 1.0


def add_bulk(lab: Laboratory, who: Participant, jobs: int) -> Found:
    """Jobs added 10,000 with a call."""
    return _adding(lab, who, "add_bulk", jobs)


def add_single(lab: Laboratory, who: Participant, jobs: int) -> Found:
    """Jobs added one after the other, each committed before the next."""
    return _adding(lab, who, "add_single", jobs)


def _adding(lab: Laboratory, who: Participant, role: str, jobs: int) -> Found:
    with ExitStack() as stack:
        dsn = stack.enter_context(lab.database(who, Fill()))
        runner = stack.enter_context(lab.start(who, dsn, role, jobs=jobs))
        runner.expect("ready", PATIENCE)
        meter = lab.meter(dsn)
        meter.start()
        runner.tell("go")
        done = runner.expect("done", PATIENCE)
        wal, _ = meter.stop()
        found = {key: value for key, value in done.items() if key not in ("event", "at")}
        return {**found, "wal_bytes_per_job": wal / jobs}


def idle(lab: Laboratory, who: Participant, seconds: int) -> Found:
    """A worker of ten places on an empty table."""
    with ExitStack() as stack:
        dsn = stack.enter_context(lab.database(who, Fill()))
        runner = stack.enter_context(lab.start(who, dsn, "work", concurrency=10))
        runner.expect("ready", PATIENCE)
        runner.tell("go")
        runner.expect("started", PATIENCE)
        stack.enter_context(lab.without_autovacuum())
        time.sleep(SETTLING)
        meter, before, begun = lab.meter(dsn), runner.usage(), time.monotonic()
        meter.start()
        time.sleep(seconds)
        wal, commits = meter.stop()
        used, took = runner.usage(), time.monotonic() - begun
        _stopped(runner)
        return {
            "transactions_per_second": commits / took,
            "processor_share": (used.processor_seconds - before.processor_seconds) / took * 100,
            "memory_mib": used.resident,
            "wal_bytes_per_second": wal / took,
        }


def memory(lab: Laboratory, who: Participant, jobs: int) -> Found:
    """The most memory held while draining a tenth of the jobs, and all of them."""
    few, many = (
        _drain(lab, who, Fill(jobs=count), kind="nothing")["memory_mib"]
        for count in (jobs // 10, jobs)
    )
    return {"memory_mib": many, "tenth_mib": few, "growth_mib": many - few}


def start_up(lab: Laboratory, who: Participant, _: int) -> Found:
    """From the start of the command line until the handler of a job that waits."""
    # An installed package has its bytecode beside it; a checkout may be forbidden to keep any.
    compileall.compile_dir(ROOT / "kongtask", quiet=1)
    with ExitStack() as stack:
        dsn = stack.enter_context(lab.database(who, Fill(jobs=1)))
        folder = RUNNERS / "cli_tasks"
        begun = time.monotonic()
        runner = stack.enter_context(lab.start_command(_command(who, dsn), who, folder))
        first = runner.expect("first", PATIENCE)["at"]
        runner.end()
        return {"seconds": first - begun}


def _command(who: Participant, dsn: str) -> list[str]:
    if who.family.environment == NODE:
        cli = CACHE / NODE / "node_modules" / "graphile-worker" / "dist" / "cli.js"
        return ["node", str(cli), "-c", dsn]
    return [str(Path(sys.executable).with_name("kongtask")), "worker", "-c", dsn, "-t", "tasks.py"]


def _stopped(runner: Runner) -> dict[str, Any]:
    """Stop a worker and return what it has seen; its sessions are counted when it has ended."""
    runner.tell("stop")
    done = runner.expect("done", PATIENCE)
    runner.wait()
    return done
