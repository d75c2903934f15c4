"""Jobs enter as Graphile Worker's functions have it: keys, limits, defaults, all or none."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import asyncpg
import pytest
from waiting import until

from kongtask import (
    InvalidJob,
    InvalidJobKeyMode,
    InvalidMaxAttempts,
    Job,
    JobKeyTooLong,
    QueueNameTooLong,
    TaskIdentifierTooLong,
    TaskSpec,
    WorkerUtils,
)
from kongtask.postgres.pool import leaving_nothing

Pool: TypeAlias = "asyncpg.Pool[Any]"
JOBS = "graphile_worker._private_jobs"
LATER = datetime(2099, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
BEFORE = datetime(2098, 1, 1, tzinfo=UTC)


@pytest.fixture
async def utils(pool: Pool) -> WorkerUtils:
    return WorkerUtils(pool)


async def test_defaults_are_those_of_graphile_worker(utils: WorkerUtils) -> None:
    job = await utils.add_job("t")
    assert (job.payload, job.queue_name, job.priority, job.attempts, job.max_attempts) == (
        {}, None, 0, 0, 25,
    )  # fmt: skip
    assert (job.key, job.revision, job.flags, job.last_error, job.locked_by) == (
        None, 0, (), None, None,
    )  # fmt: skip
    assert job.run_at == job.created_at == job.updated_at


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
async def test_every_option_is_kept(utils: WorkerUtils, many: bool) -> None:
    spec = TaskSpec(
        queue_name="line", run_at=LATER, priority=-7, max_attempts=3, job_key="k",
        flags=("b", "a", "b"),
    )  # fmt: skip
    if many:
        [job] = await utils.add_jobs([("t", [1], spec)])
    else:
        job = await utils.add_job("t", [1], spec)
    assert (job.task_identifier, job.payload, job.queue_name) == ("t", [1], "line")
    assert (job.run_at, job.priority, job.max_attempts) == (LATER, -7, 3)
    assert (job.key, job.flags) == ("k", ("a", "b"))


async def test_zeros_and_edges_are_values(utils: WorkerUtils) -> None:
    edges = [
        TaskSpec(priority=0, max_attempts=1), TaskSpec(priority=32767, max_attempts=32767),
        TaskSpec(priority=-32768), TaskSpec(queue_name="q" * 128), TaskSpec(job_key="k" * 512),
        TaskSpec(flags=()),
    ]  # fmt: skip
    jobs = await utils.add_jobs([("t" * 128, 0, spec) for spec in edges])
    assert [job.payload for job in jobs] == [0] * len(edges)
    for job, spec in zip(jobs, edges, strict=True):
        assert job.priority == (spec.priority or 0)
        assert job.max_attempts == (spec.max_attempts or 25)


async def test_many_jobs_come_back_in_the_order_given_with_their_own_names(
    utils: WorkerUtils,
) -> None:
    """Node labels them wrongly; the ids themselves may be in any order."""
    names = ["b", "a", "b", "a", "c"] * 40
    jobs = await utils.add_jobs([(name, {"n": n}, None) for n, name in enumerate(names)])
    assert [(job.task_identifier, job.payload["n"]) for job in jobs] == [
        (name, n) for n, name in enumerate(names)
    ]
    assert len({job.id for job in jobs}) == 200


async def test_equal_jobs_are_as_many_as_were_given(utils: WorkerUtils, pool: Pool) -> None:
    payloads = ["text öäü ✓", 1.0, 1, True, None, [1, [2]], {"a": "\ud800", "b": "\0"}, 10**40]
    jobs = await utils.add_jobs([("t", payload, None) for payload in payloads for _ in range(3)])
    assert len({job.id for job in jobs}) == 3 * len(payloads)
    assert await pool.fetchval(f"select count(*) from {JOBS}") == 3 * len(payloads)
    expected = [{} if each is None else each for each in payloads for _ in range(3)]
    assert [json.dumps(job.payload) for job in jobs] == [json.dumps(each) for each in expected]


async def test_no_jobs_are_no_jobs(utils: WorkerUtils) -> None:
    assert await utils.add_jobs([]) == []


Bad: TypeAlias = tuple[str, Any, dict[str, Any], type[InvalidJob], str, str]
BAD: list[Bad] = [
    ("t" * 129, {}, {}, TaskIdentifierTooLong, "GWBID", "task"),
    ("", {}, {}, InvalidJob, "", "task"),
    (3, {}, {}, InvalidJob, "", "task"),  # type: ignore[list-item]
    ("a\0", {}, {}, InvalidJob, "", "task"),
    ("t", {}, {"queue_name": "q" * 129}, QueueNameTooLong, "GWBQN", "queue_name"),
    ("t", {}, {"queue_name": "\0"}, InvalidJob, "", "queue_name"),
    ("t", {}, {"job_key": "\ud800"}, InvalidJob, "", "job_key"),
    ("t", {}, {"job_key": "k" * 513}, JobKeyTooLong, "GWBJK", "job_key"),
    ("t", {}, {"job_key": ""}, JobKeyTooLong, "GWBJK", "job_key"),
    ("t", {}, {"max_attempts": 0}, InvalidMaxAttempts, "GWBMA", "max_attempts"),
    ("t", {}, {"max_attempts": 32768}, InvalidMaxAttempts, "GWBMA", "max_attempts"),
    ("t", {}, {"priority": -32769}, InvalidJob, "", "priority"),
    (
        "t",
        {},
        {"job_key": "k", "job_key_mode": "merge"},
        InvalidJobKeyMode,
        "GWBKM",
        "job_key_mode",
    ),
    ("t", {}, {"run_at": datetime(2030, 1, 1)}, InvalidJob, "", "run_at"),
    ("t", {"a": float("nan")}, {}, InvalidJob, "", "payload"),
    ("t", {"a": {1, 2}}, {}, InvalidJob, "", "payload"),
]


async def test_a_rule_that_is_broken_is_named_and_nothing_is_added(
    utils: WorkerUtils, pool: Pool
) -> None:
    for task, payload, given, kind, code, field in BAD:
        spec = TaskSpec(**given)
        with pytest.raises(kind) as one:
            await utils.add_job(task, payload, spec)
        with pytest.raises(kind, match="job 1") as many:
            await utils.add_jobs([("t", {}, None), (task, payload, spec)])
        for it in (one, many):
            assert (it.value.code, it.value.field) == (code, field)
        assert (one.value.position, many.value.position) == (None, 1)
    assert await pool.fetchval(f"select count(*) from {JOBS}") == 0


async def test_a_key_may_be_given_once_in_a_call(utils: WorkerUtils) -> None:
    twice = [("t", {}, TaskSpec(job_key="k")), ("u", {}, None), ("t", {}, TaskSpec(job_key="k"))]
    with pytest.raises(InvalidJob, match="'k' is given twice, in jobs 0 and 2"):
        await utils.add_jobs(twice)


async def test_jobs_exist_if_and_only_if_the_callers_transaction_commits(
    utils: WorkerUtils, pool: Pool
) -> None:
    async def add(connection: Any, task: str) -> None:
        await utils.add_job(task, connection=connection)
        await utils.add_jobs([(task, {}, None), (task, "\0", None)], connection=connection)

    async with pool.acquire() as connection:
        async with connection.transaction():
            await add(connection, "kept")
        transaction = connection.transaction()
        await transaction.start()
        await add(connection, "dropped")
        await transaction.rollback()
    found = await pool.fetch("select task_identifier from graphile_worker.jobs")
    assert [row["task_identifier"] for row in found] == ["kept"] * 3


async def state(pool: Pool, job: Job, **changed: object) -> None:
    for name, value in changed.items():
        await pool.execute(f"update {JOBS} set {name} = $1 where id = $2", value, job.id)


NEW = TaskSpec(job_key="k", run_at=LATER)
STATES: dict[str, dict[str, Any]] = {
    "waiting": {},
    "failed once": {"attempts": 1, "last_error": "no"},
    "failed for good": {"attempts": 25, "last_error": "no"},
    "running": {"attempts": 1, "locked_by": "pool-x", "locked_at": BEFORE},
}
# What becomes of the old row, and of the new wish: (same row, run_at of the answer, payload)
DECISIONS: dict[tuple[str, str], tuple[bool, datetime, str]] = {
    ("waiting", "replace"): (True, LATER, "new"),
    ("waiting", "preserve_run_at"): (True, BEFORE, "new"),
    ("waiting", "unsafe_dedupe"): (True, BEFORE, "old"),
    ("failed once", "replace"): (True, LATER, "new"),
    ("failed once", "preserve_run_at"): (True, LATER, "new"),
    ("failed once", "unsafe_dedupe"): (True, BEFORE, "old"),
    ("failed for good", "replace"): (False, LATER, "new"),
    ("failed for good", "preserve_run_at"): (False, LATER, "new"),
    ("failed for good", "unsafe_dedupe"): (True, BEFORE, "old"),
    ("running", "replace"): (False, LATER, "new"),
    ("running", "preserve_run_at"): (False, LATER, "new"),
    ("running", "unsafe_dedupe"): (True, BEFORE, "old"),
}


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
async def test_what_a_key_does_is_graphile_workers_table(
    utils: WorkerUtils, pool: Pool, many: bool
) -> None:
    for (name, mode), (is_same, run_at, payload) in DECISIONS.items():
        await pool.execute(f"delete from {JOBS}")
        old = await utils.add_job("t", "old", TaskSpec(job_key="k", run_at=BEFORE))
        await state(pool, old, **STATES[name])
        spec = TaskSpec(job_key="k", run_at=LATER, job_key_mode=mode)  # type: ignore[arg-type]
        if many:
            [new] = await utils.add_jobs([("t", "new", spec)])
        else:
            new = await utils.add_job("t", "new", spec)
        assert (new.id == old.id, new.run_at, new.payload) == (is_same, run_at, payload), name
        assert new.revision == (1 if is_same else 0)
        if not is_same:
            row = await pool.fetchrow(f"select * from {JOBS} where id = $1", old.id)
            assert row is not None
            assert (row["key"], row["attempts"]) == (None, 25)
            assert row["locked_by"] == STATES[name].get("locked_by")
        elif payload == "new":
            assert (new.attempts, new.last_error) == (0, None)


async def test_arrays_of_one_key_are_joined_and_an_empty_payload_discards_them(
    utils: WorkerUtils,
) -> None:
    spec = TaskSpec(job_key="k", run_at=LATER)
    await utils.add_job("t", [1], spec)
    assert (await utils.add_job("t", [2, 3], spec)).payload == [1, 2, 3]
    assert (await utils.add_jobs([("t", [4], spec)]))[0].payload == [1, 2, 3, 4]
    assert (await utils.add_job("t", {"a": 1}, spec)).payload == {"a": 1}
    await utils.add_job("t", [1], spec)
    assert (await utils.add_job("t", None, spec)).payload == {}


async def test_replacing_resets_what_is_not_given(utils: WorkerUtils) -> None:
    full = TaskSpec(
        job_key="k", run_at=LATER, queue_name="line", priority=5, max_attempts=3, flags=["a"]
    )
    await utils.add_job("t", 1, full)
    job = await utils.add_job("u", 2, TaskSpec(job_key="k", run_at=LATER))
    assert (job.task_identifier, job.queue_name, job.priority) == ("u", None, 0)
    assert (job.max_attempts, job.flags) == (25, ())


async def test_a_job_that_a_race_loses_is_added_again(utils: WorkerUtils, pool: Pool) -> None:
    """Graphile Worker's function answers with nulls then, and the job is gone."""
    await pool.execute(
        """create sequence losses;
        alter function graphile_worker._kongtask_add_specs rename to real_add_specs;
        create function graphile_worker._kongtask_add_specs(
            specs graphile_worker.job_spec[], job_key_preserve_run_at boolean default false
        ) returns setof graphile_worker._private_jobs language plpgsql as $$
        begin
            if nextval('losses') <= 3 then return; end if;
            return query
            select * from graphile_worker.real_add_specs(specs, job_key_preserve_run_at);
        end $$;"""
    )
    job = await utils.add_job("t", 1, TaskSpec(job_key="k"))
    assert (job.payload, job.key) == (1, "k")
    assert await pool.fetchval("select last_value from losses") == 4


async def test_ids_of_tasks_are_not_spent_on_moments_in_the_past(utils: WorkerUtils) -> None:
    job = await utils.add_job("t", spec=TaskSpec(run_at=datetime.now(UTC) - timedelta(days=400)))
    assert job.run_at < job.created_at


async def last_statements(pool: Pool) -> list[str]:
    """What KongTask's own sessions were asked last."""
    query = """select query from pg_stat_activity
        where datname = current_database() and application_name = 'kongtask'"""
    return [row["query"] for row in await pool.fetch(query)]


async def test_a_session_of_its_own_is_not_reset_after_an_addition(
    pool: Pool, database_url: str
) -> None:
    """To reset it is a second round trip for each job that is added alone."""
    async with await WorkerUtils.connect(database_url) as utils:
        for number in range(3):
            await utils.add_job("t", number)

        async def is_alone() -> bool:  # it looked who answers there
            return len(await last_statements(pool)) == 1

        await until(is_alone)
        [said] = await last_statements(pool)
        assert "_kongtask_route_job" in said


async def test_what_others_leave_in_such_a_session_is_reset(database_url: str) -> None:
    async with await WorkerUtils.connect(database_url) as utils:
        for _ in range(2):
            async with utils.pool.acquire() as connection:
                assert await connection.fetchval("show work_mem") != "7MB"
                await connection.execute("set work_mem = '7MB'")
                await connection.execute("select pg_advisory_lock(7)")
            await utils.add_job("t")
            async with utils.pool.acquire() as connection:
                assert await connection.fetchval("show work_mem") != "7MB"
        assert await utils.pool.fetchval("select count(*) from pg_locks where objid = 7") == 0


async def test_who_listens_on_a_session_that_an_addition_opened_is_reset_too(
    database_url: str,
) -> None:
    """What asyncpg calls for a connection runs in the context in which that was opened."""
    heard = asyncio.Event()

    async def hear(*_: object) -> None:
        async with utils.pool.acquire() as connection:
            await connection.execute("set work_mem = '7MB'")
        heard.set()

    async with await WorkerUtils.connect(database_url) as utils:
        await utils.add_job("t")
        async with utils.pool.acquire() as listening:
            await listening.add_listener("something", hear)
            await utils.pool.execute("notify something")
            await heard.wait()
            await listening.remove_listener("something", hear)
        async with utils.pool.acquire() as one, utils.pool.acquire() as other:
            for each in (one, other):
                assert await each.fetchval("show work_mem") != "7MB"


async def test_a_transaction_that_was_left_open_is_rolled_back(
    pool: Pool, database_url: str
) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # asyncpg complains
    async with await WorkerUtils.connect(database_url) as utils:
        with leaving_nothing():
            connection = await utils.pool.acquire()
            await connection.execute("begin")
            await connection.execute(f"lock table {JOBS}")
            await utils.pool.release(connection)
        await utils.add_job("t")
    assert await pool.fetchval(f"select count(*) from {JOBS}") == 1
