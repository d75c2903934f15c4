"""A Kubernetes cluster as the place where workers run.

What was read is kept until somebody says it changed, or for half a minute. It decides nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from kongtask.clock import Clock
from kongtask.operator.cluster import ActionRefused
from kongtask.operator.kubernetes_api import FIELD_MANAGER, KubernetesApi
from kongtask.operator.kubernetes_state import connection_of, migration_of, workers_of
from kongtask.operator.model import (
    ApplyWorkers,
    ClusterAction,
    ClusterState,
    Connection,
    DeleteMigration,
    MarkDeletionCosts,
    Pool,
    PoolEvent,
    PoolKey,
    PoolStatus,
    RunMigration,
    ScaleWorkers,
)
from kongtask.operator.resources import COST_ANNOTATION, deployment, migration_job
from kongtask.operator.status_record import status_to_manifest

logger = logging.getLogger("kongtask.operator")

REFRESH = 30.0
"""Seconds for which what was read is trusted when no change is heard of."""


@dataclass(frozen=True, slots=True)
class _Seen:
    state: ClusterState
    until: float


class KubernetesCluster:
    """Implements `Cluster` over the Kubernetes API."""

    def __init__(self, api: KubernetesApi, clock: Clock) -> None:
        self._api = api
        self._clock = clock
        self._seen: dict[PoolKey, _Seen] = {}
        self._changes: dict[PoolKey, int] = {}
        self._generations: dict[PoolKey, int] = {}

    def changed(self, key: PoolKey) -> None:
        """Read this pool anew at the next look."""
        self._seen.pop(key, None)
        self._changes[key] = self._changes.get(key, 0) + 1

    def forget(self, key: PoolKey) -> None:
        """Drop what is known of a pool that is gone."""
        for known in (self._seen, self._changes, self._generations):
            known.pop(key, None)

    async def observe(self, pool: Pool) -> ClusterState:
        """Return what there is of this pool now."""
        seen = self._seen.get(pool.key)
        if seen is not None and self._clock.monotonic() < seen.until and _is_connected(pool):
            return seen.state
        before = self._changes.get(pool.key, 0)
        state = await self._read(pool)
        if isinstance(state.connection, Connection) and before == self._changes.get(pool.key, 0):
            self._seen[pool.key] = _Seen(state, self._clock.monotonic() + REFRESH)
        return state

    async def _read(self, pool: Pool) -> ClusterState:
        core, key = f"/api/v1/namespaces/{pool.key.namespace}", pool.key
        secret = await self._api.get(f"{core}/secrets/{pool.spec.secret.name}")
        there = await self._api.get(_deployment_path(key))
        workers = there if there is not None and _is_of(there, pool) else None
        selector = f"kongtask.dev/pool={key.name}"
        pods = (await self._api.get(f"{core}/pods", labelSelector=selector) or {}).get("items", [])
        jobs = (await self._api.get(_jobs_path(key), labelSelector=selector) or {}).get("items", [])
        return ClusterState(
            connection=connection_of(pool, secret),
            workers=workers_of(workers, _of(pods, "worker"), self._drifted(key, workers)),
            migrations=tuple(
                migration_of(job, _of(pods, "migration"))
                for job in jobs
                if _is_of(job, pool) and "deletionTimestamp" not in job["metadata"]
            ),
        )

    def _drifted(self, key: PoolKey, workers: dict[str, Any] | None) -> bool:
        generation = None if workers is None else workers["metadata"]["generation"]
        return workers is not None and self._generations.get(key) != generation

    async def execute(self, pool: Pool, action: ClusterAction) -> None:
        """Do one action; raises `ActionRefused` or `ClusterUnavailable`."""
        self.changed(pool.key)
        match action:
            case RunMigration(name=name):
                await self._api.create(_jobs_path(pool.key), migration_job(pool, name))
            case DeleteMigration(name=name):
                await self._api.delete(f"{_jobs_path(pool.key)}/{name}")
            case ApplyWorkers():
                await self._apply(pool, action)
            case ScaleWorkers(replicas=replicas):
                body = {"spec": {"replicas": replicas}}
                self._wrote(pool.key, await self._api.merge(_deployment_path(pool.key), body))
            case MarkDeletionCosts(costs=costs):
                for name, cost in costs:
                    await self._mark(pool.key, name, cost)

    async def _apply(self, pool: Pool, action: ApplyWorkers) -> None:
        path = _deployment_path(pool.key)
        there = await self._api.get(path)
        if there is not None and not _is_of(there, pool):
            raise ActionRefused(
                f"Deployment {pool.key.name} is not this pool's: delete it, or rename the pool",
                reason="NameTaken",
            )
        self._wrote(pool.key, await self._api.apply(path, deployment(pool, action)))

    def _wrote(self, key: PoolKey, answer: dict[str, Any] | None) -> None:
        if answer is not None:
            self._generations[key] = answer["metadata"]["generation"]

    async def _mark(self, key: PoolKey, pod: str, cost: int) -> None:
        body = {"metadata": {"annotations": {COST_ANNOTATION: str(cost)}}}
        await self._api.merge(f"/api/v1/namespaces/{key.namespace}/pods/{pod}", body)

    async def report(
        self, pool: Pool, status: PoolStatus | None, events: Sequence[PoolEvent]
    ) -> None:
        """Write the status and post the events."""
        if status is not None:
            await self._api.apply(f"{_pool_path(pool.key)}/status", _status_body(pool, status))
        for event in events:
            await self._post(pool, event)

    async def _post(self, pool: Pool, event: PoolEvent) -> None:
        path = f"/api/v1/namespaces/{pool.key.namespace}/events"
        try:
            await self._api.create(path, self._event(pool, event))
        except ActionRefused as error:
            # A namespace that is being deleted takes none; the pass must go on to let the pool go.
            logger.info("%s: no event %s: %s", pool.key, event.reason, error)

    def _event(self, pool: Pool, event: PoolEvent) -> dict[str, Any]:
        now = self._clock.now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{pool.key.name}.", "namespace": pool.key.namespace},
            "involvedObject": {
                "apiVersion": "kongtask.dev/v1alpha1",
                "kind": "KongTaskPool",
                "name": pool.key.name,
                "namespace": pool.key.namespace,
                "uid": pool.uid,
            },
            "type": event.kind,
            "reason": event.reason,
            "message": event.message[:1000],
            "source": {"component": FIELD_MANAGER},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }


def _is_connected(pool: Pool) -> bool:
    """Whether the Secret can be trusted to be right: a correction of it is not heard of."""
    condition = pool.status.condition("DatabaseReachable")
    return condition is None or condition.status != "False"


def _status_body(pool: Pool, status: PoolStatus) -> dict[str, Any]:
    return {
        "apiVersion": "kongtask.dev/v1alpha1",
        "kind": "KongTaskPool",
        "metadata": {"name": pool.key.name, "namespace": pool.key.namespace, "uid": pool.uid},
        "status": status_to_manifest(status),
    }


def _is_of(there: dict[str, Any], pool: Pool) -> bool:
    owners = there["metadata"].get("ownerReferences") or []
    return pool.uid in [each["uid"] for each in owners]


def _of(pods: Sequence[dict[str, Any]], component: str) -> list[dict[str, Any]]:
    name = "app.kubernetes.io/component"
    return [pod for pod in pods if (pod["metadata"].get("labels") or {}).get(name) == component]


def _pool_path(key: PoolKey) -> str:
    return f"/apis/kongtask.dev/v1alpha1/namespaces/{key.namespace}/kongtaskpools/{key.name}"


def _deployment_path(key: PoolKey) -> str:
    return f"/apis/apps/v1/namespaces/{key.namespace}/deployments/{key.name}"


def _jobs_path(key: PoolKey) -> str:
    return f"/apis/batch/v1/namespaces/{key.namespace}/jobs"
