"""What stops workers, or the operator, and what becomes of the jobs meanwhile."""

from __future__ import annotations

import json
from contextlib import suppress

import asyncpg
from cluster import DATABASE, SYSTEM, Json, get, kubectl, last_words, until
from place import NEXT_IMAGE, Place, once_each


async def test_a_job_whose_worker_was_killed_runs_again_within_half_a_minute(
    place: Place,
) -> None:
    await place.ready_pool(concurrency=1, scaling={"minReplicas": 1})
    await place.add_gated("one")
    [first] = await place.until_running("gated", 1)

    # Process 1 of the container is the init; every other one is the worker.
    killing = ("exec", first["pod"], "-n", place.namespace, "--", "sh", "-c", "kill -9 -1")
    kubectl(*killing)

    async def again() -> bool:
        return len(await place.runs("gated")) == 2

    await until("the job runs again", again, 30)
    await place.open("one")
    [lost, second] = await place.until_finished("gated", 1)
    assert (lost["finished_at"], second["attempt"]) == (None, 2)
    await place.until_no_jobs()


async def test_a_pod_that_is_taken_away_by_force_loses_no_job(place: Place) -> None:
    await place.ready_pool(scaling={"minReplicas": 1}, drain={"timeoutSeconds": 5})
    await place.add_gated("one")
    [first] = await place.until_running("gated", 1)

    kubectl("delete", "pod", first["pod"], "-n", place.namespace, "--force", "--grace-period=0")

    [_, second, *_] = await place.until_running("gated", 2)
    assert second["pod"] != first["pod"]
    await place.open("one")
    await place.until_no_jobs()


async def test_an_evicted_worker_finishes_its_job_while_another_takes_its_place(
    place: Place,
) -> None:
    await place.ready_pool(scaling={"minReplicas": 1})
    await place.add_gated("one")
    [run] = await place.until_running("gated", 1)
    named = {"name": run["pod"], "namespace": place.namespace}
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": named}
    path = f"/api/v1/namespaces/{place.namespace}/pods/{run['pod']}/eviction"

    kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))

    await until("another worker is ready", lambda: place.ready_pods() - {run["pod"]})
    await place.add("quick")
    [other] = await place.until_finished("quick", 1)
    assert other["pod"] != run["pod"]
    await place.open("one")
    assert once_each(await place.until_finished("gated", 1))
    await until("the first one is gone", lambda: len(place.pods()) == 1)


async def test_a_database_that_restarts_loses_no_job_and_no_worker(place: Place) -> None:
    # As many workers as ever, so that none goes because there is little to do.
    await place.ready_pool(scaling={"minReplicas": 2, "maxReplicas": 2})
    await until("both workers are ready", lambda: len(place.ready_pods()) == 2)
    before = _workers(place)
    await place.add("quick", 20, '{"seconds": 3}')
    await place.until_running("quick", 5)

    # Process 1 is the server; on this signal it cuts everybody off.
    stop = ("exec", "-n", DATABASE, "deployment/postgres", "--", "sh", "-c", "kill -INT 1")
    kubectl(*stop)

    async def all_done() -> bool:
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return await place.jobs_left() == 0
        return False

    await until("no job left", all_done)
    await place.until_condition("Ready", "True")
    runs = await place.runs("quick")
    assert {run["job_id"] for run in runs if run["finished_at"]} == {run["job_id"] for run in runs}
    assert len({run["job_id"] for run in runs}) == 20
    assert before == _workers(place)


async def test_a_new_image_rolls_out_without_losing_a_job(place: Place) -> None:
    always = {"minReplicas": 2, "maxReplicas": 2}
    await place.ready_pool(concurrency=4, scaling=always)
    await place.add_gated("old")
    await place.until_running("gated", 1)
    await place.add("quick", 80, '{"seconds": 0.5}')
    await place.until_running("quick", 5)

    place.pool(image=NEXT_IMAGE, concurrency=4, scaling=always)
    await place.until_finished("quick", 80)
    await place.add("quick", 8)
    runs = await place.until_finished("quick", 88)
    await until("the new image works", lambda: _rolled_out(place))
    await place.add("quick", 8)
    runs = await place.until_finished("quick", 96)

    assert once_each(runs)
    assert {run["version"] for run in runs} == {"1", "2"}
    assert {run["version"] for run in runs[-8:]} == {"2"}
    [still] = await place.runs("gated")
    assert still["finished_at"] is None
    await place.open("old")
    [kept] = await place.until_finished("gated", 1)
    assert (kept["version"], once_each([kept])) == ("1", True)


def _rolled_out(place: Place) -> bool:
    status = (place.seen() or {}).get("status", {})
    told = place.condition("WorkersAvailable")
    same = status.get("currentRevision") == status.get("targetRevision")
    return same and told.get("reason") == "Available" and status.get("replicas") == 2


async def test_a_deleted_pool_finishes_its_jobs_and_goes(place: Place) -> None:
    await place.ready_pool()
    await place.add_gated("last")
    [run] = await place.until_running("gated", 1)

    with last_words(place.namespace, run["pod"]) as said:
        kubectl("delete", "kongtaskpool", "mail", "-n", place.namespace, "--wait=false")
        await until("its pod is stopping", lambda: place.pods() and not place.live_pods())
        told = {each["type"]: each for each in (place.seen() or {})["status"]["conditions"]}
        await place.open("last")
        assert once_each(await place.until_finished("gated", 1))
        await until("the pool is gone", lambda: place.seen() is None)

    assert told["Ready"]["reason"] == "Deleting"
    await until("its Deployment too", lambda: get("deployment", place.namespace, "mail") is None)
    assert await place.jobs_left() == 0
    assert said
    assert not [line for line in said if "Traceback" in line or "ERROR" in line], said


async def test_a_namespace_with_a_pool_in_it_can_be_deleted(place: Place) -> None:
    await place.ready_pool(scaling={"minReplicas": 1})

    kubectl("delete", "namespace", place.namespace, "--wait=false")

    await until("it is gone", lambda: get("namespace", "default", place.namespace) is None)
    kubectl("create", "namespace", place.namespace)


async def test_an_operator_that_goes_and_comes_back_changes_nothing(place: Place) -> None:
    await place.ready_pool(scaling={"minReplicas": 1})
    await place.add_gated("one")
    await place.until_running("gated", 1)
    before = _oldest(place)

    kubectl("delete", "pod", "-n", SYSTEM, "-l", "app.kubernetes.io/name=kongtask-operator")
    kubectl("rollout", "status", "-n", SYSTEM, "deployment/kongtask-operator", "--timeout=90s",
            timeout=100)  # fmt: skip
    # It is at work again: more jobs bring more workers, and the one there was is still the same.
    await place.add_gated(*(f"more-{number}" for number in range(20)))
    await until("more workers", lambda: place.replicas() == 3)

    assert before == _oldest(place)
    await place.open("every")
    assert once_each(await place.until_finished("gated", 21))


def _oldest(place: Place) -> tuple[object, ...]:
    """The worker that was there first, and what all workers are made from."""
    deployment = get("deployment", place.namespace, "mail") or {}
    first = min(place.pods(), key=lambda pod: str(pod["metadata"]["creationTimestamp"]))
    return _restarts(first), deployment["spec"]["template"]


def _workers(place: Place) -> list[tuple[str, list[int]]]:
    """The workers there are, and how often each was restarted."""
    return sorted(_restarts(pod) for pod in place.pods())


def _restarts(pod: Json) -> tuple[str, list[int]]:
    counts = [each["restartCount"] for each in pod["status"]["containerStatuses"]]
    return pod["metadata"]["uid"], counts
