"""The Kubernetes objects of a pool, made of its spec: the workers' Deployment and migration Jobs.

Full intent every time, fit for namespaces that enforce restricted Pod Security. It talks to nobody.
"""

from __future__ import annotations

from typing import Any

from kongtask.operator.model import ApplyWorkers, Pool, PoolKey, PoolSpec

HEALTH_PORT = 9464
MIGRATION_DEADLINE = 900
"""Seconds a migration Job may take, waiting for its image included."""

GRACE = 20
"""Seconds after the drain timeout in which a worker gives its jobs back."""

START_TIMEOUT = 3600
"""Seconds for which a pod waits at its start for a database that does not answer. Starting anew
instead would take ever longer, five minutes at last, after the database is back."""

MIGRATION_LABEL = "kongtask.dev/migration"
COST_ANNOTATION = "controller.kubernetes.io/pod-deletion-cost"

Manifest = dict[str, Any]

_PROTOCOLS = {"Grpc": "grpc", "HttpProtobuf": "http/protobuf"}


def labels(key: PoolKey, component: str) -> dict[str, str]:
    """Return the labels that every object of a pool carries."""
    return {
        "app.kubernetes.io/name": "kongtask-worker",
        "app.kubernetes.io/instance": key.name,
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/part-of": "kongtask",
        "app.kubernetes.io/managed-by": "kongtask-operator",
        "kongtask.dev/pool": key.name,
    }


def worker_selector(key: PoolKey) -> dict[str, str]:
    """Return the labels that select a pool's worker pods and nothing else."""
    return {"kongtask.dev/pool": key.name, "app.kubernetes.io/component": "worker"}


def deployment(pool: Pool, action: ApplyWorkers) -> Manifest:
    """Return the Deployment of a pool's workers."""
    marks = {"kongtask.dev/revision": action.revision}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(pool, pool.key.name, "worker", marks),
        "spec": {
            "replicas": action.replicas,
            "revisionHistoryLimit": 3,
            "progressDeadlineSeconds": 600,
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"},
            },
            "selector": {"matchLabels": worker_selector(pool.key)},
            "template": _worker_template(pool, action, marks),
        },
    }


def migration_job(pool: Pool, name: str) -> Manifest:
    """Return the Job that migrates the pool's schema with the pool's image."""
    marks = {MIGRATION_LABEL: name}
    container = _container(pool.spec, "migrate", ["kongtask", "migrate"])
    container["env"] = _variables(pool.spec, {})
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _metadata(pool, name, "migration", marks),
        "spec": {
            "backoffLimit": 2,
            "activeDeadlineSeconds": MIGRATION_DEADLINE,
            "template": {
                "metadata": {"labels": {**labels(pool.key, "migration"), **marks}},
                "spec": {"restartPolicy": "Never", **_pod(container)},
            },
        },
    }


def _metadata(pool: Pool, name: str, component: str, marks: dict[str, str]) -> Manifest:
    return {
        "name": name,
        "namespace": pool.key.namespace,
        "labels": {**labels(pool.key, component), **marks},
        "ownerReferences": [
            {
                "apiVersion": "kongtask.dev/v1alpha1",
                "kind": "KongTaskPool",
                "name": pool.key.name,
                "uid": pool.uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }


def _worker_template(pool: Pool, action: ApplyWorkers, marks: dict[str, str]) -> Manifest:
    container = _container(pool.spec, "worker", ["kongtask", "worker", "--no-migrate"])
    container["env"] = _variables(pool.spec, _worker_settings(pool))
    container["ports"] = [{"name": "health", "containerPort": HEALTH_PORT, "protocol": "TCP"}]
    container.update(_probes())
    grace = pool.spec.drain_timeout_seconds + GRACE
    return {
        "metadata": {
            "labels": {**labels(pool.key, "worker"), **marks},
            "annotations": {
                "kongtask.dev/config-hash": action.revision,
                "kongtask.dev/secret-hash": action.fingerprint,
            },
        },
        "spec": {"terminationGracePeriodSeconds": grace, **_pod(container)},
    }


def _pod(container: Manifest) -> Manifest:
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }


def _container(spec: PoolSpec, name: str, arguments: list[str]) -> Manifest:
    container: Manifest = {
        "name": name,
        "image": spec.image,
        # The image's entry point is an init that runs what it is given.
        "args": arguments,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    if spec.image_pull_policy is not None:
        container["imagePullPolicy"] = spec.image_pull_policy
    if spec.resources:
        container["resources"] = {kind: dict(each) for kind, each in spec.resources.items()}
    return container


def _probes() -> Manifest:
    alive = {"httpGet": {"path": "/livez", "port": "health"}, "timeoutSeconds": 5}
    ready = {"httpGet": {"path": "/readyz", "port": "health"}, "timeoutSeconds": 5}
    return {
        "startupProbe": {**alive, "periodSeconds": 1, "failureThreshold": 120},
        "readinessProbe": {**ready, "periodSeconds": 5, "failureThreshold": 3},
        "livenessProbe": {**alive, "periodSeconds": 10, "failureThreshold": 6},
    }


def _variables(spec: PoolSpec, settings: dict[str, Manifest]) -> list[Manifest]:
    """Return the environment; a variable of the user's wins over a setting for tracing."""
    secret = {"name": spec.secret.name, "key": spec.secret.key}
    found: dict[str, Manifest] = {
        "DATABASE_URL": {"valueFrom": {"secretKeyRef": secret}},
        "KONGTASK_SCHEMA": {"value": spec.schema},
        **settings,
    }
    for each in spec.env:
        taken = {"value": each.value or ""}
        found[each.name] = {"valueFrom": each.value_from} if each.value_from else taken
    return [{"name": name, **each} for name, each in found.items()]


def worker_environment(pool: Pool) -> dict[str, str]:
    """Return the plain settings of a pool's workers, wherever they run."""
    spec = pool.spec
    return {
        "KONGTASK_CONCURRENCY": str(spec.concurrency),
        "KONGTASK_TASKS": ",".join(spec.modules),
        "KONGTASK_DRAIN_TIMEOUT": str(spec.drain_timeout_seconds),
        "KONGTASK_HEALTH_PORT": str(HEALTH_PORT),
        **_tracing(pool),
    }


def _worker_settings(pool: Pool) -> dict[str, Manifest]:
    name = {"valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    settings = {key: {"value": value} for key, value in worker_environment(pool).items()}
    settings["KONGTASK_START_TIMEOUT"] = {"value": str(START_TIMEOUT)}
    return {"POD_NAME": name, "KONGTASK_WORKER_NAME": {"value": "$(POD_NAME)"}, **settings}


def _tracing(pool: Pool) -> dict[str, str]:
    tracing = pool.spec.tracing
    if tracing.mode != "Enabled" or tracing.endpoint is None:
        return {}
    return {
        "OTEL_SERVICE_NAME": pool.key.name,
        "OTEL_EXPORTER_OTLP_ENDPOINT": tracing.endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": _PROTOCOLS[tracing.protocol],
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": str(tracing.sampling_percent / 100),
        "OTEL_BSP_SCHEDULE_DELAY": "1000",
    }
