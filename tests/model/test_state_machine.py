"""Random histories of a job table: after every call the real rows are those of the model.

KONGTASK_TEST_LONG=1 plays many more and longer histories.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeVar

import asyncpg
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from job_model import JobModel, Moment, Row, Span, Wanted

from kongtask import RescheduleSpec, TaskSpec, WorkerUtils
from kongtask.postgres.jobs import Failure, JobStore
from kongtask.postgres.life import PoolIdentity

SHORT = settings(max_examples=50, stateful_step_count=40)
LONG = settings(max_examples=1500, stateful_step_count=60)
SCHEMA = "graphile_worker"
POOLS = ["pool-a", "pool-b"]
FAR = datetime(2090, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)
LATER = timedelta(minutes=7)
ROWS = f"""
select jobs.id, jobs.payload::text, queues.queue_name as queue, jobs.run_at, jobs.updated_at,
    jobs.max_attempts, jobs.priority, jobs.flags::text, jobs.key, jobs.attempts, jobs.last_error,
    jobs.revision, jobs.locked_by, jobs.is_available,
    coalesce(jobs.locked_at < now() - interval '4 hours', false) as is_stale
from {SCHEMA}._private_jobs as jobs
left join {SCHEMA}._private_job_queues as queues on queues.id = jobs.job_queue_id
order by jobs.id
"""
QUEUES = f"select queue_name, locked_by, locked_at from {SCHEMA}._private_job_queues"
CLEAN = f"truncate {SCHEMA}._private_jobs, {SCHEMA}._private_job_queues"
A_WEEK_PASSES = f"update {SCHEMA}._private_jobs set run_at = run_at - interval '7 days'"
HOURS_PASS = f"""
update {SCHEMA}._private_jobs set locked_at = locked_at - interval '5 hours'
where locked_at is not null
"""

pools = st.sampled_from(POOLS)
times = st.sampled_from([None, None, LONG_AGO, FAR])
wanted_jobs = st.builds(
    Wanted,
    payload=st.sampled_from([{}, {"a": 1}, [], [1], ["x", 2], "text", 0]),
    queue=st.sampled_from([None, None, "q", "r"]),
    run_at=times,
    max_attempts=st.sampled_from([None, 1, 2]),
    priority=st.sampled_from([None, 0, -1, 5]),
    flags=st.sampled_from([(), (), ("f",), ("f", "g")]),
    key=st.sampled_from([None, "k", "k", "l"]),
    mode=st.sampled_from([None, "replace", "preserve_run_at", "unsafe_dedupe"]),
)
batches = st.lists(
    wanted_jobs, min_size=1, max_size=4,
    unique_by=lambda job: job.key or id(job),
)  # fmt: skip
first_batches = st.lists(
    st.builds(dataclasses.replace, wanted_jobs, key=st.none(), run_at=st.none()),
    min_size=2, max_size=6,
)  # fmt: skip
reasons = st.sampled_from([None, "", "why"])
changes = st.fixed_dictionaries(
    {
        "run_at": times,
        "priority": st.sampled_from([None, 0, 9]),
        "attempts": st.sampled_from([None, 0, 1, 99]),
        "max_attempts": st.sampled_from([None, 1, 3]),
    }
)


@dataclass(frozen=True, slots=True)
class End:
    """How a run ends."""

    kind: Literal["complete", "fail", "snooze", "give_back"]
    when: timedelta | datetime | None
    is_final: bool
    payload: Any


ends = st.builds(
    End,
    kind=st.sampled_from(["fail", "fail", "fail", "complete", "snooze", "give_back"]),
    when=st.sampled_from([None, None, LATER, FAR, LONG_AGO]),
    is_final=st.sampled_from([False, False, True]),
    payload=st.sampled_from([None, None, [9]]),
)
numbers = st.integers(0, 2**20)

CALLS: dict[str, tuple[int, tuple[st.SearchStrategy[Any], ...]]] = {
    "add": (3, (batches,)),
    "remove_job": (1, (st.sampled_from(["k", "l"]),)),
    "fetch": (5, (pools, st.sampled_from([100, 2, 1]), st.sampled_from([[], [], ["f"]]))),
    "end_a_run": (6, (numbers, pools, st.integers(0, 5), ends)),
    "unlock_a_pool": (1, (pools, st.sampled_from(["keep one", "keep none", "force"]))),
    "end_by_hand": (1, (numbers, st.sampled_from(["complete", "fail", "cancel"]), reasons)),
    "reschedule": (2, (numbers, changes)),
    "time_passes": (2, (st.booleans(),)),
}
"""How often each call is made, beside the others, and with what."""

calls = st.sampled_from(
    [name for name, (weight, _) in CALLS.items() for _ in range(weight)]
).flatmap(lambda name: st.tuples(st.just(name), *CALLS[name][1]))

Result = TypeVar("Result")


class Histories(RuleBasedStateMachine):
    """Calls of the real code, each followed by what the model makes of it."""

    def __init__(
        self, runner: asyncio.Runner, pool: asyncpg.Pool[Any], stores: dict[str, JobStore]
    ) -> None:
        super().__init__()
        self._runner, self._pool, self._stores = runner, pool, stores
        self._utils = WorkerUtils(pool)
        self.model = JobModel()
        self._seen = LONG_AGO

    @initialize(batch=first_batches)
    def begin(self, batch: list[Wanted]) -> None:
        self._run(self._pool.execute(CLEAN))
        self._run(self._since())
        self.add(batch)

    @rule(call=calls)
    def call(self, call: tuple[Any, ...]) -> None:
        """The one rule: Hypothesis leaves out half of them in each history, and these need all."""
        name, *arguments = call
        getattr(self, name)(*arguments)

    # Adding and removing

    def add(self, batch: list[Wanted]) -> None:
        jobs = [("t", wanted.payload, _spec(wanted)) for wanted in batch]
        if len(jobs) == 1:
            job, now = self._timed(self._utils.add_job(*jobs[0]))
            added = [job]
        else:
            added, now = self._timed(self._utils.add_jobs(jobs))
        for wanted, job in zip(batch, added, strict=True):
            assert job.id == self.model.add(wanted, job.id, now)

    def remove_job(self, key: str) -> None:
        removed, now = self._timed(self._utils.remove_job(key))
        assert (removed and removed.id) == self.model.remove(key, now)

    # Running

    def fetch(self, pool: str, limit: int, forbidden: list[str]) -> None:
        jobs, now = self._timed(self._stores[pool].fetch(limit, forbidden))
        order = [(job.priority, job.run_at, job.id) for job in jobs]
        assert order == sorted(order)
        ids = {job.id for job in jobs}
        due = self.model.due(now.low, forbidden)
        if due == self.model.due(now.high, forbidden):  # else one became due in between
            _check_choice(due, ids, limit)
        self.model.take(ids, pool)

    def end_a_run(self, pick: int, pool: str, is_own: int, end: End) -> None:
        running = self.running()
        if not running:
            return
        row = running[pick % len(running)]
        pool = (row.locked_by or pool) if is_own else pool
        found, expected = getattr(self, f"_{end.kind}")(row, self._stores[pool], pool, end)
        assert found == expected

    def _complete(self, row: Row, store: JobStore, pool: str, end: End) -> tuple[Any, Any]:
        done, _ = self._timed(store.complete([row.id]))
        return done, self.model.complete([row.id], pool)

    def _fail(self, row: Row, store: JobStore, pool: str, end: End) -> tuple[Any, Any]:
        failure = Failure(
            job_id=row.id, error="no", when=end.when, is_final=end.is_final,
            payload_json=None if end.payload is None else json.dumps(end.payload),
        )  # fmt: skip
        failed, now = self._timed(store.fail([failure]))
        return failed, self.model.fail(
            row.id, pool, now, error="no", when=_moment(end.when, now), is_final=end.is_final,
            payload=end.payload,
        )  # fmt: skip

    def _snooze(self, row: Row, store: JobStore, pool: str, end: End) -> tuple[Any, Any]:
        when = end.when or LATER
        put_off, now = self._timed(store.snooze([(row.id, when)]))
        return put_off, self.model.give_back([row.id], pool, _moment(when, now))

    def _give_back(self, row: Row, store: JobStore, pool: str, end: End) -> tuple[Any, Any]:
        given, _ = self._timed(store.give_back([row.id]))
        return given, self.model.give_back([row.id], pool)

    def unlock_a_pool(self, pool: str, what: str) -> None:
        if what == "force":
            self._timed(self._utils.force_unlock_workers([pool]))
            self.model.force_unlock(pool)
            return
        held = [row.id for row in self.running() if row.locked_by == pool]
        kept = held[:1] if what == "keep one" else []
        given, _ = self._timed(self._stores[pool].give_back_unheld(kept))
        assert given == self.model.give_back_unheld(kept, pool)

    # Hands and time

    def end_by_hand(self, pick: int, kind: str, reason: str | None) -> None:
        ids = self._some(pick)
        if kind == "complete":
            jobs, now = self._timed(self._utils.complete_jobs(ids))
            expected = self.model.complete_by_hand(ids)
        elif kind == "fail":
            jobs, now = self._timed(self._utils.permanently_fail_jobs(ids, reason))
            expected = self.model.fail_by_hand(ids, reason, now)
        else:
            jobs, now = self._timed(self._utils.cancel_jobs(ids, "enough"))
            expected = self.model.cancel(ids, "enough", now)
        assert {job.id for job in jobs} == expected

    def reschedule(self, pick: int, changes: dict[str, Any]) -> None:
        ids = self._some(pick)
        moved, now = self._timed(self._utils.reschedule_jobs(ids, RescheduleSpec(**changes)))
        assert {job.id for job in moved} == self.model.reschedule(ids, changes, now)

    def time_passes(self, is_week: bool) -> None:
        """A week for those that wait, or five hours for those that run."""
        self._run(self._pool.execute(A_WEEK_PASSES if is_week else HOURS_PASS))
        for row in self.model.rows.values():
            if not is_week:
                row.is_stale = row.locked_by is not None
            elif isinstance(row.run_at, datetime):
                row.run_at -= timedelta(days=7)

    # What must be true at any time

    @invariant()
    def rows_are_those_of_the_model(self) -> None:
        found = self._run(self._pool.fetch(ROWS))
        assert [row["id"] for row in found] == sorted(self.model.rows)
        for seen in found:
            row = self.model.rows[seen["id"]]
            _adopt_moments(row, seen)
            assert _plain(seen) == {name: getattr(row, name) for name in Row.__slots__}
            assert seen["is_available"] == row.is_available

    @invariant()
    def queues_are_those_of_the_model(self) -> None:
        found = self._run(self._pool.fetch(QUEUES))
        assert {row["queue_name"]: row["locked_by"] for row in found} == self.model.queues
        assert all((row["locked_by"] is None) == (row["locked_at"] is None) for row in found)

    @invariant()
    def a_queue_runs_one_job_at_most(self) -> None:
        running = [row.queue for row in self.running() if row.queue is not None]
        assert len(running) == len(set(running))

    def running(self) -> list[Row]:
        return [row for row in self.model.rows.values() if row.locked_by is not None]

    def _some(self, pick: int) -> list[int]:
        """One or two ids, and one that never was."""
        ids = sorted(self.model.rows) or [2**41]
        return [ids[pick % len(ids)], ids[pick // 7 % len(ids)], 2**40]

    def _timed(self, work: Coroutine[Any, Any, Result]) -> tuple[Result, Span]:
        async def timed() -> tuple[Result, Span]:
            result = await work
            return result, await self._since()

        return self._run(timed())

    async def _since(self) -> Span:
        """The time since this was called before."""
        before, self._seen = self._seen, await self._pool.fetchval("select clock_timestamp()")
        return Span(before, self._seen)

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self._runner.run(work)


def _check_choice(due: list[Row], ids: set[int], limit: int) -> None:
    """Whether a fetch took what it must: the first `limit`, of each queue the very first."""
    assert len(ids) <= limit
    last = due[min(limit, len(due)) - 1] if due else None
    queues: set[str] = set()
    for row in due:
        assert last is not None
        rank, limit_rank = (row.priority, row.run_at), (last.priority, last.run_at)
        is_tied = len(due) > limit and rank == limit_rank
        if (row.queue is not None and row.queue in queues) or rank > limit_rank:
            assert row.id not in ids
        elif not is_tied:
            assert row.id in ids
        if row.queue is not None and (not is_tied or row.id in ids):
            queues.add(row.queue)
    assert ids <= {row.id for row in due}


def _spec(wanted: Wanted) -> TaskSpec:
    return TaskSpec(
        queue_name=wanted.queue, run_at=wanted.run_at, priority=wanted.priority,
        max_attempts=wanted.max_attempts, job_key=wanted.key, flags=wanted.flags,
        job_key_mode=wanted.mode,  # type: ignore[arg-type]
    )  # fmt: skip


def _moment(when: timedelta | datetime | None, now: Span) -> Moment | None:
    return now + when if isinstance(when, timedelta) else when


def _adopt_moments(row: Row, seen: asyncpg.Record) -> None:
    for name in ("run_at", "updated_at"):
        expected = getattr(row, name)
        if isinstance(expected, Span):
            assert seen[name] in expected, (name, seen[name], expected)
            setattr(row, name, seen[name])


def _plain(seen: asyncpg.Record) -> dict[str, Any]:
    flags = () if seen["flags"] is None else tuple(sorted(json.loads(seen["flags"])))
    return {name: seen[name] for name in Row.__slots__} | {
        "payload": json.loads(seen["payload"]), "flags": flags,
    }  # fmt: skip


async def _opened(url: str) -> tuple[asyncpg.Pool[Any], dict[str, JobStore]]:
    pool = await asyncpg.create_pool(url, min_size=1, max_size=8)
    stores = {}
    for name in POOLS:
        identity = PoolIdentity(pool_id=name, host="", concurrency=1, tasks=("t",))
        stores[name] = JobStore(pool, SCHEMA, identity)
        await stores[name].register_tasks()
    return pool, stores


async def _closed(pool: asyncpg.Pool[Any], stores: dict[str, JobStore]) -> None:
    for store in stores.values():
        await store.abandon()
    await pool.close()


def test_every_history_ends_as_the_rules_say(database_url: str) -> None:
    profile = LONG if os.environ.get("KONGTASK_TEST_LONG") else SHORT
    with asyncio.Runner() as runner:
        pool, stores = runner.run(_opened(database_url))
        try:
            run_state_machine_as_test(
                lambda: Histories(runner, pool, stores),  # type: ignore[arg-type]
                settings=settings(
                    profile, deadline=None, database=None, print_blob=True,
                    suppress_health_check=list(HealthCheck),
                ),
            )  # fmt: skip
        finally:
            runner.run(_closed(pool, stores))
