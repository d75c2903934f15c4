"""What Kubernetes says, in the operator's words."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from operator_words import pool

from kongtask.operator.kubernetes_state import (
    connection_of,
    migration_of,
    pod_problem,
    worker_pod,
    workers_of,
)
from kongtask.operator.model import Connection, Problem
from kongtask.operator.resources import MIGRATION_LABEL

URI = "postgres://me:hunter2@db/shop"


def secret(text: str, key: str = "uri") -> dict[str, Any]:
    return {"data": {key: base64.b64encode(text.encode()).decode()}}


@pytest.mark.parametrize(
    "given, reason",
    [
        pytest.param(None, "SecretNotFound", id="no Secret"),
        pytest.param({}, "SecretKeyMissing", id="an empty Secret"),
        pytest.param(secret(URI, key="url"), "SecretKeyMissing", id="another key"),
        pytest.param(secret("  "), "SecretInvalid", id="blank text"),
        pytest.param({"data": {"uri": "/w=="}}, "SecretInvalid", id="no text"),
    ],
)
def test_a_secret_that_is_no_use(given: dict[str, Any] | None, reason: str) -> None:
    found = connection_of(pool(), given)

    assert isinstance(found, Problem)
    assert found.reason == reason
    assert "Secret database" in found.message


def test_the_fingerprint_follows_the_content_and_shows_nothing() -> None:
    one, same = connection_of(pool(), secret(URI)), connection_of(pool(), secret(URI))
    other = connection_of(pool(), secret(URI + "x"))

    assert isinstance(one, Connection)
    assert one == same != other
    assert "hunter2" not in repr(one)


def deployment(**status: Any) -> dict[str, Any]:
    return {
        "metadata": {"generation": 3, "labels": {"kongtask.dev/revision": "r1"}},
        "spec": {"replicas": 2},
        "status": {"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, **status},
    }


@pytest.mark.parametrize(
    "status, rolling",
    [
        pytest.param({}, False, id="settled"),
        pytest.param({"observedGeneration": 2}, True, id="not yet taken up"),
        pytest.param({"updatedReplicas": 1}, True, id="pods still to be replaced"),
        pytest.param({"replicas": 3}, True, id="an old pod still there"),
    ],
)
def test_a_rollout(status: dict[str, Any], rolling: bool) -> None:
    found = workers_of(deployment(**status), [], drifted=False)

    assert found is not None
    assert found.rolling is rolling


@pytest.mark.parametrize(
    "condition, reason",
    [
        pytest.param(
            {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: small"},
            "QuotaExceeded", id="quota"),
        pytest.param(
            {"type": "ReplicaFailure", "status": "True", "message": "violates PodSecurity"},
            "ForbiddenByPolicy", id="policy"),
        pytest.param(
            {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"},
            "ProgressDeadlineExceeded", id="deadline"),
    ],
)  # fmt: skip
def test_a_deployment_in_trouble(condition: dict[str, Any], reason: str) -> None:
    found = workers_of(deployment(conditions=[condition]), [], drifted=False)

    assert found is not None
    assert found.problem is not None
    assert found.problem.reason == reason


def waiting(reason: str, **more: Any) -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": "said so"}}
    return {"containerStatuses": [{"image": "shop/tasks:1", "state": state, **more}]}


@pytest.mark.parametrize(
    "status, problem",
    [
        pytest.param({}, None, id="nothing known"),
        pytest.param(waiting("ContainerCreating"), None, id="being made"),
        pytest.param(
            waiting("ImagePullBackOff"),
            ("ImagePullError", "shop/tasks:1: said so"), id="no image"),
        pytest.param(
            waiting("CrashLoopBackOff", lastState={
                "terminated": {"exitCode": 2, "message": "a\nkongtask: no module shop\n"}}),
            ("CrashLooping", "shop/tasks:1: kongtask: no module shop"), id="the last words"),
        pytest.param(
            {"conditions": [{"type": "PodScheduled", "status": "False", "message": "no cpu"}]},
            ("Unschedulable", "no cpu"), id="no node"),
    ],
)  # fmt: skip
def test_a_pod_in_trouble(status: dict[str, Any], problem: tuple[str, str] | None) -> None:
    found = pod_problem(status)

    assert (found and (found.reason, found.message)) == problem


def test_a_terminating_pod_is_told_apart() -> None:
    found = worker_pod({"metadata": {"name": "mail-0", "deletionTimestamp": "now"}})

    assert (found.terminating, found.ready) == (True, False)


def job(kind: str | None, message: str = "") -> dict[str, Any]:
    done = {"status": "True", "lastTransitionTime": "2026-03-01T12:00:00Z", "message": message}
    conditions = [] if kind is None else [{"type": kind, **done}]
    return {"metadata": {"name": "mail-migrate-1"}, "status": {"conditions": conditions}}


def job_pod(status: dict[str, Any], name: str = "mail-migrate-1") -> dict[str, Any]:
    return {"metadata": {"labels": {MIGRATION_LABEL: name}}, "status": status}


@pytest.mark.parametrize(
    "given, state",
    [
        pytest.param(job(None), "Running", id="no condition yet"),
        pytest.param(job("Complete"), "Succeeded", id="complete"),
        pytest.param(job("Failed"), "Failed", id="failed"),
        pytest.param(job("FailureTarget"), "Running", id="about to fail"),
    ],
)
def test_the_state_of_a_migration(given: dict[str, Any], state: str) -> None:
    assert migration_of(given, []).state == state


def test_a_failed_migration_speaks_its_last_words() -> None:
    ended = {"terminated": {"exitCode": 1, "message": "x\nschema is foreign: choose another"}}
    pods = [job_pod({"containerStatuses": [{"state": ended}]}), job_pod({}, name="another")]

    assert migration_of(job("Failed", "BackoffLimitExceeded"), pods).message == (
        "schema is foreign: choose another"
    )


def test_a_failed_migration_without_words_gives_the_jobs() -> None:
    assert migration_of(job("Failed", "the deadline passed"), []).message == "the deadline passed"


def test_a_migration_that_cannot_pull_says_so_while_it_runs() -> None:
    found = migration_of(job(None), [job_pod(waiting("ErrImagePull"))])

    assert (found.state, found.reason) == ("Running", "ImagePullError")
