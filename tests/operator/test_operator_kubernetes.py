"""The door to Kubernetes, against a real API server without controllers."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from kubernetes import aio, client
from operator_words import NOW, REVISION, spec
from pool_manifests import manifest

from kongtask.clock import Clock
from kongtask.errors import ClusterUnavailable
from kongtask.operator.cluster import ActionRefused
from kongtask.operator.kubernetes import KubernetesCluster
from kongtask.operator.kubernetes_api import KubernetesApi
from kongtask.operator.manifest import pool_from_manifest
from kongtask.operator.model import (
    ApplyWorkers,
    Condition,
    Connection,
    DeleteMigration,
    Pool,
    PoolEvent,
    PoolStatus,
    Problem,
    RunMigration,
    ScaleWorkers,
)
from kongtask.operator.resources import deployment, migration_job
from kongtask.operator.revision import short_hash

GROUP = ("kongtask.dev", "v1alpha1")
APPLY = ApplyWorkers(replicas=2, revision=REVISION, fingerprint="f1")


@pytest.fixture
def namespace(api: client.ApiClient, request: pytest.FixtureRequest) -> str:
    """A namespace of the test's own that enforces restricted Pod Security."""
    name = f"t-{short_hash(request.node.name)}"
    restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
    body = {"metadata": {"name": name, "labels": restricted}}
    client.CoreV1Api(api).create_namespace(body)
    return name


@pytest.fixture
def pool(api: client.ApiClient, namespace: str) -> Pool:
    """A pool that the API server stores."""
    made = client.CustomObjectsApi(api).create_namespaced_custom_object(
        *GROUP, namespace, "kongtaskpools", manifest({})
    )
    return pool_from_manifest(made)


@pytest.fixture
async def cluster(api: client.ApiClient) -> AsyncIterator[KubernetesCluster]:
    settings = aio.client.Configuration()
    settings.host = api.configuration.host
    settings.ssl_ca_cert = api.configuration.ssl_ca_cert
    settings.api_key = dict(api.configuration.api_key)
    door = KubernetesApi(aio.client.ApiClient(settings))
    yield KubernetesCluster(door, Clock())
    await door.close()


def make_secret(api: client.ApiClient, namespace: str) -> None:
    data = {"uri": base64.b64encode(b"postgres://db/shop").decode()}
    body = {"metadata": {"name": "database"}, "data": data}
    client.CoreV1Api(api).create_namespaced_secret(namespace, body)


async def test_a_new_pool_has_nothing(cluster: KubernetesCluster, pool: Pool) -> None:
    state = await cluster.observe(pool)

    assert isinstance(state.connection, Problem)
    assert (state.workers, state.migrations) == (None, ())


async def test_a_secret_is_seen_as_soon_as_it_is_there(
    api: client.ApiClient, cluster: KubernetesCluster, pool: Pool, namespace: str
) -> None:
    await cluster.observe(pool)
    make_secret(api, namespace)

    assert isinstance((await cluster.observe(pool)).connection, Connection)


async def test_workers_are_applied_scaled_and_watched_for_drift(
    api: client.ApiClient, cluster: KubernetesCluster, pool: Pool, namespace: str
) -> None:
    await cluster.execute(pool, APPLY)
    await cluster.execute(pool, APPLY)
    await cluster.execute(pool, ScaleWorkers(replicas=5))
    ours = (await cluster.observe(pool)).workers
    client.AppsV1Api(api).patch_namespaced_deployment("mail", namespace, {"spec": {"replicas": 9}})
    cluster.changed(pool.key)
    theirs = (await cluster.observe(pool)).workers

    assert ours is not None
    assert (ours.revision, ours.replicas, ours.drifted) == (REVISION, 5, False)
    assert theirs is not None
    assert (theirs.replicas, theirs.drifted) == (9, True)


async def test_what_was_read_is_kept_until_a_change_is_heard_of(
    api: client.ApiClient, cluster: KubernetesCluster, pool: Pool, namespace: str
) -> None:
    make_secret(api, namespace)
    before = await cluster.observe(pool)

    assert await cluster.observe(pool) is before
    cluster.changed(pool.key)
    assert await cluster.observe(pool) is not before


async def test_a_migration_is_made_once_and_forgotten(
    cluster: KubernetesCluster, pool: Pool
) -> None:
    await cluster.execute(pool, RunMigration(name="mail-migrate-1"))
    await cluster.execute(pool, RunMigration(name="mail-migrate-1"))
    made = (await cluster.observe(pool)).migrations
    await cluster.execute(pool, DeleteMigration(name="mail-migrate-1"))
    await cluster.execute(pool, DeleteMigration(name="mail-migrate-1"))

    assert [(each.name, each.state) for each in made] == [("mail-migrate-1", "Running")]


async def test_a_deployment_of_somebody_elses_is_left_alone(
    api: client.ApiClient, cluster: KubernetesCluster, pool: Pool, namespace: str
) -> None:
    theirs = deployment(replace(pool, uid="somebody-else"), APPLY)
    client.AppsV1Api(api).create_namespaced_deployment(namespace, theirs)

    assert (await cluster.observe(pool)).workers is None
    with pytest.raises(ActionRefused, match="is not this pool's: delete it") as refused:
        await cluster.execute(pool, APPLY)
    assert refused.value.reason == "NameTaken"


async def test_a_template_that_the_server_refuses_keeps_its_words(
    cluster: KubernetesCluster, pool: Pool
) -> None:
    unfit = {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}
    wrong = replace(pool, spec=spec(resources=unfit))

    with pytest.raises(ActionRefused, match="must be less than or equal to cpu limit") as refused:
        await cluster.execute(wrong, APPLY)

    assert refused.value.reason == "PodTemplateInvalid"


async def test_status_and_events_are_written(
    api: client.ApiClient, cluster: KubernetesCluster, pool: Pool, namespace: str
) -> None:
    ready = Condition(
        type="Ready", status="True", reason="Ready", message="all well", since=NOW, generation=1
    )
    status = PoolStatus(conditions=(ready,), replicas=2, desired_replicas=3, selector="a=b")
    event = PoolEvent(kind="Normal", reason="ScaledUp", message="from 0 to 3 workers")

    await cluster.report(pool, status, [event])
    await cluster.report(pool, replace(status, replicas=3), [])

    stored = client.CustomObjectsApi(api).get_namespaced_custom_object(
        *GROUP, namespace, "kongtaskpools", "mail"
    )
    [posted] = client.CoreV1Api(api).list_namespaced_event(namespace).items
    assert pool_from_manifest(stored).status == replace(status, replicas=3)
    assert (posted.reason, posted.involved_object.name) == ("ScaledUp", "mail")


async def test_a_namespace_that_is_being_deleted_takes_no_event_but_the_status(
    api: client.ApiClient, cluster: KubernetesCluster, pool: Pool, namespace: str
) -> None:
    client.CoreV1Api(api).delete_namespace(namespace)
    event = PoolEvent(kind="Normal", reason="ScaledDown", message="from 3 to 0 workers")

    await cluster.report(pool, PoolStatus(replicas=3), [event])

    stored = client.CustomObjectsApi(api).get_namespaced_custom_object(
        *GROUP, namespace, "kongtaskpools", "mail"
    )
    assert pool_from_manifest(stored).status.replicas == 3


async def test_telling_a_pool_that_is_gone_is_no_trouble(
    api: client.ApiClient, cluster: KubernetesCluster, pool: Pool, namespace: str
) -> None:
    client.CustomObjectsApi(api).delete_namespaced_custom_object(
        *GROUP, namespace, "kongtaskpools", "mail"
    )

    await cluster.report(pool, PoolStatus(), [])

    assert (await cluster.observe(pool)).workers is None


@pytest.mark.parametrize("kind", ["worker", "migration"])
async def test_pods_are_let_into_a_restricted_namespace(
    api: client.ApiClient, pool: Pool, namespace: str, kind: str
) -> None:
    made: dict[str, Any] = (
        deployment(pool, APPLY) if kind == "worker" else migration_job(pool, "mail-migrate-1")
    )
    body = {**made["spec"]["template"], "metadata": {"name": kind}}

    admitted = client.CoreV1Api(api).create_namespaced_pod(namespace, body, dry_run="All")

    assert admitted.metadata.name == kind


async def test_an_api_server_that_is_away_is_trouble_that_passes() -> None:
    settings = aio.client.Configuration()
    settings.host = "http://127.0.0.1:9"
    door = KubernetesApi(aio.client.ApiClient(settings))

    with pytest.raises(ClusterUnavailable, match="cannot be reached"):
        await door.get("/livez")
    await door.close()
