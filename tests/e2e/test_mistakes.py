"""A user's mistake is told in a sentence, where the user looks, and stops nothing that works."""

from __future__ import annotations

import pytest
from cluster import Refused, kubectl, until
from place import Place

WRONG = {
    "a minimum above the maximum": (
        {"scaling": {"minReplicas": 9}},
        "scaling.minReplicas must be at most scaling.maxReplicas: lower the one or raise the other",
    ),
    "an unknown nickname in the crontab": (
        {"crontab": "@reboot report"},
        "crontab must hold lines of the form 'minute hour day month weekday task",
    ),
    "a misspelt field": ({"concurency": 3}, 'unknown field "spec.concurency"'),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
async def test_a_wrong_manifest_is_refused(
    place: Place, wrong: tuple[dict[str, object], str]
) -> None:
    spec, sentence = wrong

    with pytest.raises(Refused) as refused:
        place.pool(**spec)

    assert sentence in str(refused.value)
    assert place.seen() is None


async def test_the_missing_secret_is_named_and_its_arrival_noticed(place: Place) -> None:
    kubectl("delete", "secret", "database", "-n", place.namespace)
    place.pool()

    told = await place.until_condition("Ready", "False", "SecretNotFound")
    place.store_uri(place.uri)
    await place.until_condition("Ready", "True")

    assert told["message"] == (
        "Secret database does not exist: create it with the connection string in uri"
    )


async def test_mistakes_made_later_stop_no_worker(place: Place) -> None:
    await place.ready_pool(scaling={"minReplicas": 1})
    before = place.live_pods()

    place.store_uri(place.uri, key="url")
    told = await place.until_condition("DatabaseReachable", "False", "SecretKeyMissing")
    assert told["message"].startswith("Secret database has no key uri: add it, or correct")
    await _still_works(place, before, 1)

    wrong = place.uri.replace("kongtask:kongtask", "kongtask:nonsense")
    place.store_uri(wrong)
    told = await place.until_condition("DatabaseReachable", "False", "AuthenticationFailed")
    assert "nonsense" not in str(place.seen())
    await _still_works(place, before, 2)

    place.store_uri(place.uri)
    await place.until_condition("Ready", "True")
    place.pool(scaling={"minReplicas": 1}, crontab="61 * * * * quick")
    told = await place.until_condition("CrontabValid", "False", "ParseError")
    assert "line 1" in told["message"]
    await _still_works(place, before, 3)


async def _still_works(place: Place, pods: set[str], count: int) -> None:
    await place.add("quick")
    await place.until_finished("quick", count)
    assert place.live_pods() == pods


async def test_an_image_that_is_not_there_is_named_and_the_old_one_works_on(place: Place) -> None:
    always = {"minReplicas": 1}
    await place.ready_pool(scaling=always)
    before = place.live_pods()

    place.pool(scaling=always, image="kongtask-e2e:missing", imagePullPolicy="Never")

    told = await place.until_condition("Ready", "False", "ImagePullError")
    assert "kongtask-e2e:missing" in told["message"]
    await _still_works(place, before, 1)


async def test_tasks_that_cannot_be_imported_are_named(place: Place) -> None:
    place.pool(scaling={"minReplicas": 1}, tasks={"modules": ["nowhere"]})

    told = await place.until_condition("Ready", "False", "CrashLooping")

    assert "tasks 'nowhere' cannot be imported: ModuleNotFoundError" in told["message"]


async def test_a_crontab_for_a_task_that_no_worker_has_is_told(place: Place) -> None:
    await place.ready_pool(scaling={"minReplicas": 1})
    await until("tasks are announced", lambda: (place.seen() or {})["status"].get("tasks"))

    place.pool(scaling={"minReplicas": 1}, crontab="0 4 1 1 * quikc")

    told = await place.until_condition("CrontabValid", "False", "UnknownTask")
    assert "the workers have no task 'quikc', they know 'failing', " in told["message"]


async def test_a_task_that_fails_is_tried_again(place: Place) -> None:
    await place.ready_pool()
    await place.add("failing", payload='{"until": 2}')

    runs = await place.until_finished("failing", 1)

    assert [run["attempt"] for run in runs] == [1, 2]
    await place.until_no_jobs()
