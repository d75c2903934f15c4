"""Reads what Kubernetes says about a pool: its JSON becomes the operator's words.

Pure functions of what was read; the reasons they give are those of the conditions.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from kongtask.operator.model import (
    Connection,
    Migration,
    Pool,
    Problem,
    SecretRef,
    WorkerPod,
    WorkerSet,
)
from kongtask.operator.resources import COST_ANNOTATION, MIGRATION_LABEL

Json = Mapping[str, Any]

_WAITING = {
    "ErrImagePull": "ImagePullError",
    "ImagePullBackOff": "ImagePullError",
    "InvalidImageName": "ImagePullError",
    "ErrImageNeverPull": "ImagePullError",
    "CrashLoopBackOff": "CrashLooping",
    "CreateContainerConfigError": "PodTemplateInvalid",
    "CreateContainerError": "PodTemplateInvalid",
    "RunContainerError": "PodTemplateInvalid",
}


def connection_of(pool: Pool, secret: Json | None) -> Connection | Problem:
    """Return the connection string in a Secret, or why there is none."""
    ref = pool.spec.secret
    where = f"Secret {ref.name}"
    if secret is None:
        return Problem(
            reason="SecretNotFound",
            message=f"{where} does not exist: create it with the connection string in {ref.key}",
        )
    encoded = (secret.get("data") or {}).get(ref.key)
    if encoded is None:
        return Problem(
            reason="SecretKeyMissing",
            message=f"{where} has no key {ref.key}: add it, or correct database.secretRef.key",
        )
    return _decoded(encoded, ref, pool.uid)


def _decoded(encoded: str, ref: SecretRef, salt: str) -> Connection | Problem:
    try:
        uri = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        uri = ""
    if not uri.strip():
        return Problem(
            reason="SecretInvalid",
            message=f"Secret {ref.name} holds no text in {ref.key}: put a connection string there",
        )
    # Keyed by the pool, so that equal passwords do not show as equal hashes.
    digest = hashlib.blake2b(uri.encode(), key=salt.encode()[:64], digest_size=8).hexdigest()
    return Connection(uri=uri, fingerprint=digest)


def workers_of(deployment: Json | None, pods: Iterable[Json], drifted: bool) -> WorkerSet | None:
    """Return the workers that a Deployment and its pods describe."""
    if deployment is None:
        return None
    spec, status = deployment["spec"], deployment.get("status") or {}
    metadata = deployment["metadata"]
    found = tuple(worker_pod(each) for each in pods if not _finished(each))
    return WorkerSet(
        revision=(metadata.get("labels") or {}).get("kongtask.dev/revision", ""),
        replicas=int(spec.get("replicas", 1)),
        ready=sum(pod.ready and not pod.terminating for pod in found),
        pods=found,
        rolling=_rolling(metadata, spec, status),
        drifted=drifted,
        problem=_deployment_problem(status),
    )


def _rolling(metadata: Json, spec: Json, status: Json) -> bool:
    updated = status.get("updatedReplicas", 0)
    return bool(
        status.get("observedGeneration", 0) < metadata.get("generation", 0)
        or status.get("replicas", 0) > updated
        or updated < spec.get("replicas", 1)
    )


def _finished(pod: Json) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _deployment_problem(status: Json) -> Problem | None:
    for each in status.get("conditions") or ():
        message = each.get("message", "")
        if each["type"] == "ReplicaFailure" and each["status"] == "True":
            quota = "exceeded quota" in message
            return Problem(
                reason="QuotaExceeded" if quota else "ForbiddenByPolicy", message=message
            )
        if each["type"] == "Progressing" and each["status"] == "False":
            reason = each.get("reason") or "ProgressDeadlineExceeded"
            return Problem(reason=reason, message=message)
    return None


def refused_pod_reason(message: str) -> str:
    """Return the stable word for why a cluster does not let a pod be made."""
    return "QuotaExceeded" if "exceeded quota" in message else "ForbiddenByPolicy"


def worker_pod(pod: Json) -> WorkerPod:
    """Return one pod in the operator's words."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    conditions = {each["type"]: each["status"] for each in status.get("conditions") or ()}
    cost = (metadata.get("annotations") or {}).get(COST_ANNOTATION, "0")
    return WorkerPod(
        name=metadata["name"],
        ready=conditions.get("Ready") == "True",
        terminating="deletionTimestamp" in metadata,
        revision=(metadata.get("labels") or {}).get("kongtask.dev/revision", ""),
        deletion_cost=int(cost) if cost.lstrip("-").isdigit() else 0,
        problem=pod_problem(status),
    )


def pod_problem(status: Json) -> Problem | None:
    """Return what keeps a pod from becoming ready, or None."""
    for each in status.get("conditions") or ():
        if each["type"] == "PodScheduled" and each["status"] == "False":
            return Problem(reason="Unschedulable", message=each.get("message", "no node fits"))
    for each in status.get("containerStatuses") or ():
        waiting = (each.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in _WAITING:
            return _waiting_problem(each, waiting)
    return None


def _waiting_problem(container: Json, waiting: Json) -> Problem:
    reason = _WAITING[waiting["reason"]]
    said = last_words(container) if reason == "CrashLooping" else ""
    message = said or waiting.get("message") or waiting["reason"]
    return Problem(reason=reason, message=f"{container.get('image', '')}: {message}")


def last_words(container: Json) -> str:
    """Return the last line a container left when it ended, or nothing."""
    for state in ("state", "lastState"):
        ended = (container.get(state) or {}).get("terminated") or {}
        lines = str(ended.get("message", "")).strip().splitlines()
        if lines and ended.get("exitCode"):
            return lines[-1][:500]
    return ""


def migration_of(job: Json, pods: Sequence[Json]) -> Migration:
    """Return one migration Job in the operator's words."""
    name, status = job["metadata"]["name"], job.get("status") or {}
    ours = [
        pod for pod in pods if (pod["metadata"].get("labels") or {}).get(MIGRATION_LABEL) == name
    ]
    problem = next((found for pod in ours if (found := pod_problem(pod.get("status") or {}))), None)
    state, finished, why = _outcome(status)
    said = problem.message if problem else _last_failure(ours) or why
    return Migration(
        name=name,
        state=state,
        message="" if state == "Succeeded" else said,
        reason=problem.reason if problem and state == "Running" else "",
        finished_at=finished,
    )


def _outcome(
    status: Json,
) -> tuple[Literal["Running", "Succeeded", "Failed"], datetime | None, str]:
    for each in status.get("conditions") or ():
        if each["status"] == "True" and each["type"] in ("Complete", "Failed"):
            moment = datetime.fromisoformat(each["lastTransitionTime"].replace("Z", "+00:00"))
            done = each["type"] == "Complete"
            return "Succeeded" if done else "Failed", moment, each.get("message", "")
    return "Running", None, ""


def _last_failure(pods: Sequence[Json]) -> str:
    newest = sorted(pods, key=lambda pod: pod["metadata"].get("creationTimestamp", ""))
    words = [
        last_words(container)
        for pod in reversed(newest)
        for container in (pod.get("status") or {}).get("containerStatuses") or ()
    ]
    return next((each for each in words if each), "")
