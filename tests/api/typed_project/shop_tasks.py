"""Tasks of every kind, as an application would write them."""

from datetime import timedelta
from typing import Any, TypedDict

from kongtask import FailJob, Helpers, RetryJob, SnoozeJob, TaskSpec, ThreadHelpers, task


class Mail(TypedDict):
    to: str


@task
async def send_email(payload: Mail, helpers: Helpers) -> None:
    helpers.logger.info("sending", {"to": payload["to"], "attempt": helpers.job.attempts})
    async with helpers.transaction() as connection:
        await connection.execute("select 1")
        await helpers.add_job("log", {"sent": True}, TaskSpec(priority=1), connection=connection)
    if helpers.is_cancelled:
        raise SnoozeJob(timedelta(minutes=1))


@task("billing:charge", timeout=timedelta(seconds=30))
def charge(payload: dict[str, Any], helpers: ThreadHelpers) -> None:
    job = helpers.add_job("receipt", payload)
    if job.id < 0:
        raise RetryJob(timedelta(hours=1), "the bank is closed")
    raise FailJob("no such customer")
