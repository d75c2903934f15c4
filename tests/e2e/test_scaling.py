"""Workers come with the jobs and go without taking any job with them."""

from __future__ import annotations

from cluster import found, kubectl, until
from place import Place, once_each


async def test_a_burst_into_a_pool_at_zero_runs_once_each_and_leaves_zero(place: Place) -> None:
    await place.ready_pool()
    told = await place.until_condition("WorkersAvailable", "True", "ScaledToZero")

    await place.add("quick", 300, '{"seconds": 0.2}')
    runs = await place.until_finished("quick", 300)
    await place.until_condition("WorkersAvailable", "True", "ScaledToZero")
    await until("no pods", lambda: not place.pods())

    assert told["message"] == "no workers are wanted"
    assert once_each(runs)
    assert len(runs) == 300
    assert await place.jobs_left() == 0
    scaled = [each["message"] for each in found("events", place.namespace)]
    assert any(each.startswith("from 0 to 4 workers: ") for each in scaled), scaled


async def test_fewer_workers_are_the_idle_ones(place: Place) -> None:
    await place.ready_pool(concurrency=1, scaling={"maxReplicas": 6})
    await place.add_gated("long-1", "long-2", "long-3", "short-1", "short-2", "short-3")
    begun = await place.until_running("gated", 6)
    every = {run["pod"] for run in begun}

    await place.open("short-1", "short-2", "short-3")
    done = {run["pod"] for run in await place.until_finished("gated", 3) if run["finished_at"]}
    busy = every - done
    await until("three workers", lambda: place.replicas() == 3)
    await until("the others gone", lambda: len(place.pods()) == 3)

    assert place.live_pods() == busy
    await place.open("every")
    assert once_each(await place.until_finished("gated", 6))


async def test_a_hand_moves_the_number_in_mode_manual(place: Place) -> None:
    await place.ready_pool(scaling={"mode": "Manual"}, replicas=1)

    kubectl("scale", "kongtaskpool/mail", "-n", place.namespace, "--replicas=2")

    await until("two workers", lambda: place.replicas() == 2)
    await until("both ready", lambda: (place.seen() or {})["status"].get("readyReplicas") == 2)
