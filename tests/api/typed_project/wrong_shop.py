"""Mistakes that a type checker finds: each line names the error code it is to get."""

from datetime import timedelta
from typing import Any

import kongtask
from kongtask import Helpers, Job, RescheduleSpec, TaskSpec, WorkerPoolOptions, WorkerUtils, task

print(kongtask.Wroker)  # E: attr-defined
TaskSpec(priority="high")  # E: arg-type
TaskSpec(job_key="k", job_key_mode="merge")  # E: arg-type
TaskSpec("mail")  # E: call-arg
TaskSpec(colour="red")  # E: call-arg
WorkerPoolOptions(poll_interval=2)  # E: arg-type
WorkerPoolOptions(forbidden_flags=[1])  # E: list-item
RescheduleSpec(run_at="tomorrow")  # E: arg-type


@task  # E: type-var
async def without_helpers(payload: Any) -> None: ...


@task(timeout=30)  # E: call-overload, untyped-decorator
async def timed(payload: Any, helpers: Helpers) -> None: ...


@task
async def fine(payload: Any, helpers: Helpers) -> None:
    helpers.job.id = 3  # E: misc
    helpers.add_jb("mail")  # E: attr-defined


async def look_after(utils: WorkerUtils, pause: timedelta) -> None:
    await utils.list_jobs("lost")  # E: arg-type
    await utils.cleanup(["everything"])  # E: list-item
    await utils.reschedule_jobs([1], TaskSpec())  # E: arg-type
    job: Job = utils.add_job("mail")  # E: assignment
    print(job)
    await fine({}, pause)  # E: arg-type
