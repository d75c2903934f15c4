"""Running workers, adding jobs, hearing events and looking after the queue."""

import asyncio
from datetime import timedelta

import psycopg
from shop_tasks import charge, send_email

from kongtask import (
    CronItem,
    EventBus,
    InvalidJob,
    Job,
    RescheduleSpec,
    StandardLogger,
    StructlogLogger,
    TaskSpec,
    Worker,
    WorkerPool,
    WorkerPoolOptions,
    WorkerUtils,
    events,
    parse_cron_items,
    run_task_list,
)
from kongtask.adapters.psycopg import add_job, add_jobs


def completed(data: events.JobCompleteData) -> None:
    print(data.job.id, data.worker_id, data.error, data.outcome.kind, data.seconds)


def options() -> WorkerPoolOptions:
    bus = EventBus(StandardLogger())
    bus.on(events.JOB_COMPLETE, completed)
    items = parse_cron_items(
        [CronItem(task="send_email", match="0 4 * * *", payload={"to": "all"})]
    )
    return WorkerPoolOptions(
        concurrency=4,
        events=bus,
        cron_items=items,
        poll_interval=timedelta(seconds=1),
        forbidden_flags=["slow"],
        logger=StructlogLogger(None),
    )


async def work(url: str) -> None:
    workers: WorkerPool = await run_task_list(
        {"send_email": send_email, "billing:charge": charge}, url, options()
    )
    job: Job = await workers.add_job("send_email", {"to": "ann"})
    print(job.run_at.isoformat(), job.queue_name or "")
    await workers.release()


async def look_after(url: str) -> list[int]:
    async with await WorkerUtils.connect(url, "graphile_worker") as utils:
        await utils.migrate()
        added: list[Job] = await utils.add_jobs([("send_email", {"to": "bo"}, None)])
        try:
            await utils.add_job("send_email", {}, TaskSpec(job_key="k", job_key_mode="replace"))
        except InvalidJob as error:
            print(error.code, error.field, error.value, error.limit, error.position)
        await utils.reschedule_jobs([job.id for job in added], RescheduleSpec(attempts=0))
        await utils.cleanup(["gc_job_queues"])
        async with utils.pool.acquire() as connection, connection.transaction():
            await utils.add_job("send_email", {"to": "cy"}, connection=connection)
        await Worker(utils.pool).add_job_with_replace("send_email", {}, "k")
        return [job.id for job in await utils.list_jobs("waiting", limit=5)]


def order(url: str) -> Job:
    with psycopg.connect(url) as connection:
        jobs: list[Job] = add_jobs(connection, [("send_email", {"to": "di"}, None)])
        return add_job(connection, "billing:charge", {"order": len(jobs)})


async def order_later(connection: psycopg.AsyncConnection) -> Job:
    return await add_job(connection, "billing:charge", {"order": 1})


if __name__ == "__main__":
    asyncio.run(work("postgres://localhost/shop"))
