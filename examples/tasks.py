"""The tasks of the demo: a quick one, a slow one, and one that fails the first time."""

import asyncio

from kongtask import task


@task
async def greet(payload, helpers):
    helpers.logger.info(f"hello {payload.get('name', 'world')}")


@task
async def resize(payload, helpers):
    """Take as long as real work would."""
    await asyncio.sleep(payload.get("seconds", 2))
    helpers.logger.info(f"resized {payload.get('image', 'an image')}")


@task
async def flaky(payload, helpers):
    """Fail at the first attempt, so that there is a retry to be seen."""
    if helpers.job.attempts == 1:
        raise ConnectionError("the mail server is away, the next attempt will reach it")
    helpers.logger.info("reached it")


@task
async def tick(payload, helpers):
    """Run every minute by the crontab of pool.yaml."""
    helpers.logger.info(f"the minute of {payload['_cron']['ts']}")
