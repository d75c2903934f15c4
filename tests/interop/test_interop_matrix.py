"""Workers of both sides on one schema at the same time, each doing to the other's jobs what it may.

Every test runs both ways round. The numbers in the docstrings are those of docs/differences.md.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from sides import JOBS, OTHER, QUEUES, Side, Table, begun, settled
from waiting import until

LATER, LONG_AGO = datetime(2050, 1, 1, tzinfo=UTC), datetime(2001, 1, 1, tzinfo=UTC)
BOTH_WAYS = pytest.mark.parametrize("one", ["node", "python"])


# Keys: behaviours 13, 14, 15 and 17. The job was added by one side and is run by the other; then
# the one adds its key again.

REPLACED = {"revision": 1, "attempts": 0, "last_error": None, "payload": {"number": 2}}
UNTOUCHED = {"revision": 1, "payload": {"number": 1, "fail": "no", "hold": "g"}}
NEW_ROW = "new row"
MODES = ["replace", "preserve_run_at", "unsafe_dedupe"]

KEYS = {
    "waiting": [REPLACED, REPLACED | {"run_at": "kept"}, UNTOUCHED],
    "failed": [REPLACED, REPLACED | {"run_at": "new"}, UNTOUCHED | {"attempts": 1}],
    "failed for good": [NEW_ROW, NEW_ROW, UNTOUCHED | {"attempts": 1, "last_error": "no"}],
    "running": [NEW_ROW, NEW_ROW, UNTOUCHED | {"attempts": 1, "last_error": None}],
    "crashed": [NEW_ROW, NEW_ROW, UNTOUCHED | {"attempts": 1}],
}
"""What each mode does to a job in a state: columns of the same row, or a new row."""


async def bring_about(state: str, adder: Side, runner: Side, table: Table, mode: str) -> int:
    """Add a keyed job and let the other side bring it into a state."""
    most = {"max_attempts": 1} if state == "failed for good" else {}
    job_id = await adder.add(
        "work", {"number": 1, "fail": "no", "hold": "g"}, job_key="k", job_key_mode=mode, **most
    )
    if state == "waiting":
        await table.execute(f"update {JOBS} set run_at = '2040-01-01Z'")
        return job_id
    await runner.start()
    await begun(table, 1)
    if state in ("failed", "failed for good"):
        await runner.open("g")
        await settled(table, job_id)
        await runner.stop()
    if state == "crashed":
        await table.execute(
            f"update {JOBS} set locked_by = 'pool-0', locked_at = now() - interval '5 hours'"
        )
    return job_id


@BOTH_WAYS
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("state", KEYS)
async def test_adding_a_key_again(
    sides: dict[str, Side], table: Table, one: str, state: str, mode: str
) -> None:
    adder, runner = sides[one], sides[OTHER[one]]
    old_id = await bring_about(state, adder, runner, table, mode)
    before = await table.job(old_id)

    new_id = await adder.add("work", {"number": 2}, job_key="k", job_key_mode=mode, run_at=LATER)

    old, new = await table.job(old_id), await table.job(new_id)
    assert before is not None
    assert old is not None
    assert new is not None
    expected = KEYS[state][MODES.index(mode)]
    if expected == NEW_ROW:
        assert (old["key"], old["attempts"]) == (None, old["max_attempts"])
        assert (old["locked_by"], old["last_error"]) == (before["locked_by"], before["last_error"])
        assert (new["key"], new["revision"], new["attempts"]) == ("k", 0, 0)
        assert (new_id != old_id, new["run_at"].year) == (True, 2050)
    else:
        assert isinstance(expected, dict)
        kept = mode == "unsafe_dedupe" or expected.get("run_at") == "kept"
        assert new_id == old_id
        assert new["run_at"] == before["run_at"] if kept else new["run_at"].year == 2050
        seen = {name: new[name] for name in expected if name != "run_at"}
        assert seen == {name: value for name, value in expected.items() if name != "run_at"}
    await runner.open("g")


@BOTH_WAYS
async def test_a_job_replaced_while_the_other_runs_it_has_had_its_last_attempt(
    sides: dict[str, Side], table: Table, one: str
) -> None:
    """Behaviour 14."""
    adder, runner = sides[one], sides[OTHER[one]]
    old_id = await adder.add("work", {"number": 1, "hold": "g", "fail": "no"}, job_key="k")
    await runner.start()
    await begun(table, 1)
    await adder.add("work", {"number": 2}, job_key="k")
    await begun(table, 2)
    await runner.open("g")
    old = await settled(table, old_id)
    assert (old["attempts"], old["max_attempts"], old["last_error"]) == (25, 25, "no")
    await until(lambda: _is_alone(table, old_id))


@BOTH_WAYS
async def test_removing_what_the_other_runs_only_takes_its_further_attempts(
    sides: dict[str, Side], table: Table, one: str
) -> None:
    remover, runner = sides[one], sides[OTHER[one]]
    job_id = await remover.add("work", {"number": 1, "hold": "g", "fail": "no"}, job_key="k")
    await runner.start()
    await begun(table, 1)
    await remover.remove("k")
    await runner.open("g")
    job = await settled(table, job_id)
    assert (job["key"], job["attempts"], job["max_attempts"]) == (None, 25, 25)


async def _is_alone(table: Table, job_id: int) -> bool:
    rows = await table.pool.fetch(f"select id from {JOBS}")
    return [row["id"] for row in rows] == [job_id]


# Queues, priorities, flags, tasks

BESIDE = """
select a.payload->>'queue', a.side, b.side
from runs as a join runs as b on a.payload->>'queue' = b.payload->>'queue' and a.id < b.id
where b.started < a.ended or a.ended is null
"""


@pytest.mark.parametrize("local", [None, 5], ids=["one by one", "local queue"])
async def test_a_named_queue_that_both_work_never_runs_two_jobs(
    sides: dict[str, Side], table: Table, local: int | None
) -> None:
    """Behaviour 31: since 0.18 with the local queue, too."""
    names = [f"q{number % 4}" for number in range(48)]
    for side in sides.values():
        await side.start(**({} if local is None else {"local_queue": local}))
    both, waves = {"node", "python"}, 0
    while waves < 20 and {row["side"] for row in await table.runs()} != both:
        waves += 1  # whoever is first to a queue may take all that lies in it
        await table.execute(
            "select graphile_worker.add_job('work', json_build_object('queue', q), q) "
            "from unnest($1::text[]) as q",
            names,
        )
        await until(table.is_empty)
    assert await table.pool.fetch(BESIDE) == []
    runs = await table.runs()
    assert len(runs) == len(names) * waves
    assert {row["side"] for row in runs} == both
    await until(lambda: _nothing_locked(table))


async def _nothing_locked(table: Table) -> bool:
    return not await table.pool.fetchval(
        f"select (select count(*) from {JOBS} where locked_at is not null) "
        f"+ (select count(*) from {QUEUES} where locked_at is not null)"
    )


async def test_a_queue_here_does_not_wait_for_the_next_poll(
    sides: dict[str, Side], table: Table
) -> None:
    """Behaviour 28: Node, which does not await completion, mostly does."""
    for number in range(5):
        await sides["node"].add("work", {"number": number, "queue": "q"}, queue_name="q")
    await sides["python"].start(poll_interval=timedelta(hours=1))
    await until(table.is_empty)
    assert [row["number"] for row in await table.runs()] == list("01234")


@BOTH_WAYS
async def test_the_other_runs_jobs_in_the_order_of_their_priorities(
    sides: dict[str, Side], table: Table, one: str
) -> None:
    """Behaviour 24; the order in which equal jobs run is fixed only here."""
    for number in (3, -2, 0, 7, -30000):
        await sides[one].add("work", {"number": number}, priority=number)
    await sides[OTHER[one]].start(concurrency=1)
    await until(table.is_empty)
    assert [row["number"] for row in await table.runs()] == ["-30000", "-2", "0", "3", "7"]


async def test_each_leaves_to_the_other_what_is_not_for_it(
    sides: dict[str, Side], table: Table
) -> None:
    """Behaviour 34: forbidden flags and unknown tasks; what nobody knows waits."""
    for number, side in enumerate(["node", "python"] * 3):
        await sides[OTHER[side]].add("work", {"for": side}, flags=[f"not {OTHER[side]}"])
        await sides[OTHER[side]].add(f"{side} only", {"for": side, "number": number})
    lost = await sides["node"].add("nobody", {})
    for name, worker in sides.items():
        await worker.start("work", f"{name} only", forbidden_flags=[f"not {name}"])
    await until(lambda: _is_alone(table, lost))
    runs = await table.pool.fetch("select side, payload->>'for' as meant from runs")
    assert len(runs) == 12
    assert all(row["side"] == row["meant"] for row in runs)
    job = await table.job(lost)
    assert job is not None
    assert job["attempts"] == 0


# Failures


@pytest.mark.parametrize("attempts", [1, 3, 10, 13])
@BOTH_WAYS
async def test_both_put_a_failed_job_off_by_the_same_time(
    sides: dict[str, Side], table: Table, one: str, attempts: int
) -> None:
    """Behaviour 27; the text is the error's message."""
    job_id = await sides[OTHER[one]].add("work", {"number": 1, "fail": "no → ✗"})
    await table.execute(f"update {JOBS} set attempts = $1", attempts - 1)
    await sides[one].start()
    job = await settled(table, job_id)
    now = await table.pool.fetchval("select now()")
    (run,) = await table.runs()
    delay = math.exp(min(attempts, 10))
    assert (run["started"].timestamp() + delay) <= job["run_at"].timestamp() + 0.001
    assert job["run_at"].timestamp() <= now.timestamp() + delay + 0.001
    assert (job["attempts"], job["last_error"], job["locked_by"]) == (attempts, "no → ✗", None)


@BOTH_WAYS
async def test_what_failed_on_one_side_is_done_by_the_other(
    sides: dict[str, Side], table: Table, one: str
) -> None:
    job_id = await sides[one].add("work", {"number": 1, "fail_once": True})
    await sides[one].start()
    await settled(table, job_id)
    await sides[one].stop()
    await sides[OTHER[one]].start()
    assert await sides[one].reschedule(job_id, run_at=LONG_AGO) == 1
    await until(table.is_empty)
    seen = [(row["side"], row["attempts"]) for row in await table.runs()]
    assert seen == [(one, 1), (OTHER[one], 2)]


@pytest.mark.parametrize(
    "thrown, text", [("a text", "An error occurred"), ({"message": "told"}, "told")]
)
async def test_what_node_throws_is_read_here(
    sides: dict[str, Side], table: Table, thrown: object, text: str
) -> None:
    """Behaviour 34: what is no Error loses its text in Node."""
    job_id = await sides["python"].add("work", {"thrown": thrown})
    await sides["node"].start()
    assert (await settled(table, job_id))["last_error"] == text
