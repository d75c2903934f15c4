"""What KongTask for Go promises, name by name, on a real database: see go_names."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import asyncpg
import pytest
from waiting import until

from kongtask import (
    CronItem,
    CronItemOptions,
    EventBus,
    Helpers,
    InvalidJob,
    InvalidJobKeyMode,
    InvalidMaxAttempts,
    Job,
    JobKeyTooLong,
    Logger,
    ParsedCronItem,
    QueueNameTooLong,
    RescheduleSpec,
    ScopedLogger,
    TaskHandler,
    TaskIdentifierTooLong,
    TaskSpec,
    Worker,
    WorkerPool,
    WorkerPoolOptions,
    WorkerUtils,
    events,
    parse_cron_items,
    run_migrations,
    run_task_list,
    run_task_list_once,
)

Pool: TypeAlias = "asyncpg.Pool[Any]"
LATER = datetime(2099, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
QUIET = {"no_handle_signals": True}


class Lines:
    """A logger of one's own: four methods, no base class."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str, Mapping[str, Any] | None]] = []

    def debug(self, message: str, meta: Mapping[str, Any] | None = None) -> None:
        self.said.append(("debug", message, meta))

    def info(self, message: str, meta: Mapping[str, Any] | None = None) -> None:
        self.said.append(("info", message, meta))

    def warn(self, message: str, meta: Mapping[str, Any] | None = None) -> None:
        self.said.append(("warn", message, meta))

    def error(self, message: str, meta: Mapping[str, Any] | None = None) -> None:
        self.said.append(("error", message, meta))


@pytest.fixture
def utils(pool: Pool) -> WorkerUtils:
    return WorkerUtils(pool)


def options(**changed: Any) -> WorkerPoolOptions:
    return WorkerPoolOptions(**{**QUIET, "logger": Lines(), **changed})


async def test_task_handler(pool: Pool, utils: WorkerUtils) -> None:
    async def greet(payload: Any, helpers: Helpers) -> None:
        assert not helpers.is_cancelled
        if payload["n"] == 2:
            raise ValueError("no such name")

    handler: TaskHandler = greet
    await utils.add_jobs([("greet", {"n": n}, None) for n in (1, 2)])
    await run_task_list_once({"greet": handler}, pool, options())

    (left,) = await utils.list_jobs("scheduled")
    assert (left.payload, left.attempts, left.last_error) == ({"n": 2}, 1, "no such name")


async def test_logger(pool: Pool, utils: WorkerUtils) -> None:
    async def talk(payload: Any, helpers: Helpers) -> None:
        logger: Logger = helpers.logger
        logger.debug("looking")
        logger.info("found", {"to": "ann"})
        logger.warn("slow")
        logger.error("gone")

    lines = Lines()
    job = await utils.add_job("talk")
    await run_task_list_once({"talk": talk}, pool, options(logger=lines))

    said = [(level, message) for level, message, meta in lines.said if meta and "to" not in meta]
    for line in (("debug", "looking"), ("warn", "slow"), ("error", "gone")):
        assert line in said
    (facts,) = [meta for _, message, meta in lines.said if message == "found"]
    assert facts is not None
    assert (facts["to"], facts["job"]) == ("ann", job.id)


def test_event_bus() -> None:
    bus = EventBus()
    heard: list[object] = []
    bus.on("job:complete", heard.append)
    bus.emit("job:complete", 1)
    bus.emit("job:start", 2)
    assert heard == [1]


async def test_run_migrations(empty_database_url: str) -> None:
    async with asyncpg.create_pool(empty_database_url, min_size=1, max_size=4) as pool:
        level = await run_migrations(pool, "my_jobs")
        assert await run_migrations(pool, "my_jobs") == level
        assert (await WorkerUtils(pool, "my_jobs").add_job("mail")).task_identifier == "mail"


async def test_worker_pool_options(database_url: str, utils: WorkerUtils, pool: Pool) -> None:
    async def meet(payload: Any, helpers: Helpers) -> None:
        sizes.append(helpers.pool.get_max_size())
        await together.wait()
        met.release()

    together, met, sizes = asyncio.Barrier(2), asyncio.Semaphore(0), list[int]()
    lines, bus, heard = Lines(), EventBus(), list[str]()
    bus.on(events.POOL_CREATE, lambda data: heard.append(data.pool_id))
    before = signal.getsignal(signal.SIGTERM)
    workers = await run_task_list(
        {"meet": meet},
        database_url,
        WorkerPoolOptions(
            concurrency=2, schema="graphile_worker", poll_interval=timedelta(milliseconds=20),
            max_pool_size=6, logger=lines, events=bus, no_handle_signals=True, listen=False,
            cron_items=parse_cron_items([CronItem(task="meet", pattern="0 0 1 1 *")]),
            forbidden_flags=("slow",), forbidden_flags_fn=lambda: ["night"],
        ),
    )  # fmt: skip
    async with workers:
        assert signal.getsignal(signal.SIGTERM) is before
        kept = [TaskSpec(flags=["slow"]), TaskSpec(flags=["night"])]
        await utils.add_jobs([("meet", {}, each) for each in (*kept, None, None)])
        async with asyncio.timeout(20):
            await met.acquire()
            await met.acquire()
        known = "select identifier from graphile_worker._private_known_crontabs"
        assert await until(lambda: pool.fetchval(known)) == "meet"

    assert sizes == [6, 6]
    assert heard == [workers.pool_id]
    assert sorted(job.flags for job in await utils.list_jobs("waiting")) == [("night",), ("slow",)]
    assert lines.said == []


async def test_worker_pool(pool: Pool) -> None:
    async def mail(payload: Any, helpers: Helpers) -> None:
        done.set_result(payload)

    done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    workers: WorkerPool = await run_task_list({"mail": mail}, pool, options())
    job = await workers.add_job("mail", {"to": "ann"}, TaskSpec(priority=1))
    assert job.priority == 1
    assert await asyncio.wait_for(done, 20) == {"to": "ann"}
    await workers.release()
    await workers.wait()


async def test_worker(pool: Pool) -> None:
    worker = Worker(pool, "graphile_worker")
    assert (await worker.add_job("mail", {"n": 1})).payload == {"n": 1}
    spec = TaskSpec(max_attempts=3)
    assert (await worker.add_job_with_spec("mail", {"n": 2}, spec)).max_attempts == 3

    replaced = [await worker.add_job_with_replace("mail", n, "a") for n in (1, 2)]
    assert [job.revision for job in replaced] == [0, 1]
    assert replaced[0].run_at < replaced[1].run_at
    kept = [await worker.add_job_with_preserve_run_at("mail", n, "b") for n in (1, 2)]
    assert kept[0].run_at == kept[1].run_at
    assert kept[1].payload == 2
    alone = [await worker.add_job_with_unsafe_dedupe("mail", n, "c") for n in (1, 2)]
    assert [job.payload for job in alone] == [1, 1]


async def test_helpers(pool: Pool, utils: WorkerUtils) -> None:
    async def look(payload: Any, helpers: Helpers) -> None:
        assert isinstance(helpers.logger, ScopedLogger)
        assert helpers.pool is pool
        assert (helpers.schema, helpers.job.id) == ("graphile_worker", job.id)
        assert helpers.worker_id.startswith("worker-")
        added.append(await helpers.add_job("next", {"n": 1}))

    added: list[Job] = []
    job = await utils.add_job("look")
    await run_task_list_once({"look": look}, pool, options())
    assert [each.id for each in await utils.list_jobs("waiting")] == [each.id for each in added]
    assert len(added) == 1


async def test_task_spec(utils: WorkerUtils) -> None:
    spec = TaskSpec(
        queue_name="line", run_at=LATER, priority=5, max_attempts=10, job_key="k",
        job_key_mode="replace", flags=["urgent", "customer-facing"],
    )  # fmt: skip
    job = await utils.add_job("pay", {}, spec)
    assert (job.queue_name, job.run_at, job.priority) == ("line", LATER, 5)
    assert (job.max_attempts, job.key, job.flags) == (10, "k", ("customer-facing", "urgent"))


async def test_job(pool: Pool, utils: WorkerUtils) -> None:
    async def look(payload: Any, helpers: Helpers) -> None:
        seen.append(helpers.job)

    seen: list[Job] = []
    spec = TaskSpec(queue_name="line", priority=2, max_attempts=7, job_key="k", flags=["a"])
    added = await utils.add_job("look", {"n": 1}, spec)
    await utils.add_job("look", {"n": 2}, spec)
    await run_task_list_once({"look": look}, pool, options())

    (job,) = seen
    assert (job.id, job.task_identifier, job.payload) == (added.id, "look", {"n": 2})
    assert (job.queue_name, job.priority, job.key, job.flags) == ("line", 2, "k", ("a",))
    assert (job.attempts, job.max_attempts, job.revision) == (1, 7, 1)
    assert job.last_error is None
    assert job.created_at == added.created_at
    assert job.locked_at is not None
    assert job.created_at < job.run_at <= job.updated_at <= job.locked_at
    assert job.locked_by is not None
    assert job.locked_by.startswith("otpool-")
    assert {moment.tzinfo for moment in (job.run_at, job.created_at, job.locked_at)} == {UTC}


async def test_worker_utils(utils: WorkerUtils) -> None:
    jobs = [await utils.add_job("mail", {"n": n}, TaskSpec(priority=n)) for n in range(3)]
    (done,) = await utils.complete_jobs([jobs[0].id])
    (failed,) = await utils.permanently_fail_jobs([jobs[1].id], "no such customer")
    spec = RescheduleSpec(run_at=LATER, priority=9, attempts=2, max_attempts=4)
    (changed,) = await utils.reschedule_jobs([jobs[2].id], spec)

    assert done.id == jobs[0].id
    assert (failed.last_error, failed.is_last_attempt) == ("no such customer", True)
    assert (changed.run_at, changed.priority) == (LATER, 9)
    assert (changed.attempts, changed.max_attempts) == (2, 4)
    assert [job.id for job in await utils.list_jobs("failed")] == [jobs[1].id]


def test_cron_items() -> None:
    wanted = CronItemOptions(
        backfill_period=timedelta(hours=1), queue_name="line", priority=3, max_attempts=2
    )
    item = CronItem(
        task="report", identifier="daily", pattern="*/30 4 1 6 7", payload={"to": "all"},
        options=wanted,
    )  # fmt: skip
    (parsed,) = parse_cron_items([item])

    assert isinstance(parsed, ParsedCronItem)
    assert (parsed.identifier, parsed.options) == ("daily", wanted)
    assert (parsed.minutes, parsed.hours, parsed.dates) == ((0, 30), (4,), (1,))
    assert (parsed.months, parsed.dows) == ((6,), (0,))
    spec = TaskSpec(queue_name="line", priority=3, max_attempts=2)
    assert parsed.job == ("report", {"to": "all"}, spec)


async def test_events(pool: Pool, utils: WorkerUtils) -> None:
    async def fail(payload: Any, helpers: Helpers) -> None:
        if payload == "no":
            raise ValueError("no such name")

    heard: dict[str, list[Any]] = {}
    bus = EventBus()
    expected = (
        events.WORKER_CREATE, events.WORKER_RELEASE, events.WORKER_STOP,
        events.WORKER_GET_JOB_START, events.JOB_START, events.JOB_COMPLETE, events.JOB_SUCCESS,
        events.JOB_ERROR, events.JOB_FAILED, events.POOL_CREATE, events.POOL_RELEASE, events.STOP,
    )  # fmt: skip
    assert expected == (
        "worker:create", "worker:release", "worker:stop", "worker:getJob:start", "job:start",
        "job:complete", "job:success", "job:error", "job:failed", "pool:create", "pool:release",
        "stop",
    )  # fmt: skip
    for name in expected:
        bus.on(name, heard.setdefault(name, []).append)
    await utils.add_job("fail", "no", TaskSpec(max_attempts=1))
    job = await utils.add_job("fail", "yes", TaskSpec(priority=1))
    workers = await run_task_list({"fail": fail}, pool, options(events=bus))
    completed = asyncio.Event()
    bus.on(events.JOB_SUCCESS, lambda _: completed.set())
    if not heard[events.JOB_SUCCESS]:
        await asyncio.wait_for(completed.wait(), 20)
    await workers.release()

    assert all(heard.values())
    (created,) = heard[events.WORKER_CREATE]
    assert isinstance(created, events.WorkerCreateData)
    failed, done = heard[events.JOB_COMPLETE]
    assert isinstance(done, events.JobCompleteData)
    assert isinstance(heard[events.JOB_START][0], events.JobStartData)
    assert heard[events.JOB_START][1].worker_id == created.worker_id == done.worker_id
    assert heard[events.JOB_START][1].job.id == done.job.id == job.id
    assert (done.error, repr(failed.error)) == (None, "ValueError('no such name')")


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
async def test_errors(utils: WorkerUtils, many: bool) -> None:
    for kind, code, task, given in (
        (TaskIdentifierTooLong, "GWBID", "t" * 129, {}),
        (QueueNameTooLong, "GWBQN", "t", {"queue_name": "q" * 129}),
        (JobKeyTooLong, "GWBJK", "t", {"job_key": "k" * 513}),
        (InvalidMaxAttempts, "GWBMA", "t", {"max_attempts": 0}),
        (InvalidJobKeyMode, "GWBKM", "t", {"job_key": "k", "job_key_mode": "merge"}),
    ):
        spec = TaskSpec(**given)  # type: ignore[arg-type]
        with pytest.raises(InvalidJob, match=f"^{code}: ") as it:
            await (utils.add_jobs([(task, {}, spec)]) if many else utils.add_job(task, {}, spec))
        assert type(it.value) is kind
        assert it.value.code == kind.code == code
    assert await utils.list_jobs("waiting") == []
