"""Recurring jobs of a pool that has no worker most of the time."""

from __future__ import annotations

from cluster import until
from place import Place, once_each


async def test_a_job_every_minute_is_added_at_zero_and_runs_once(place: Place) -> None:
    await place.ready_pool(crontab="* * * * * quick")
    await place.until_condition("WorkersAvailable", "True", "ScaledToZero")

    async def two_minutes() -> bool:
        runs = await place.runs("quick")
        return sum(run["finished_at"] is not None for run in runs) >= 2

    # The minute that has begun, the whole minutes to two moments, a worker's start.
    await until("two minutes' jobs", two_minutes, 180)
    runs = await place.runs("quick")
    assert once_each(runs[:2])
    started = [run["started_at"] for run in runs[:2]]
    assert started[0].minute != started[1].minute
    assert all(moment.second < 45 for moment in started), started
    assert (place.seen() or {})["status"]["crontab"]["entries"] == 1
