"""The Kubernetes objects of a pool."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from operator_words import KEY, MIGRATION, REVISION, pool, scaled, spec

from kongtask.operator.model import ApplyWorkers, EnvVar, Pool, Tracing
from kongtask.operator.resources import deployment, migration_job, worker_selector
from kongtask.operator.revision import worker_revision

ACTION = ApplyWorkers(replicas=2, revision=REVISION, fingerprint="f1")


def made(given: Pool) -> dict[str, Any]:
    return deployment(given, ACTION)


def container(given: Pool) -> dict[str, Any]:
    found: dict[str, Any] = made(given)["spec"]["template"]["spec"]["containers"][0]
    return found


def environment(given: Pool) -> dict[str, Any]:
    return {each["name"]: each for each in container(given)["env"]}


def test_workers_run_by_arguments_so_that_the_init_stays() -> None:
    assert container(pool())["args"][:2] == ["kongtask", "worker"]
    assert "command" not in container(pool())


def test_the_migration_runs_the_pools_image() -> None:
    job = migration_job(pool(), MIGRATION)
    inside = job["spec"]["template"]["spec"]["containers"][0]

    assert job["metadata"]["name"] == MIGRATION
    assert (inside["image"], inside["args"]) == ("shop/tasks:1", ["kongtask", "migrate"])
    assert "ttlSecondsAfterFinished" not in job["spec"]
    assert inside["terminationMessagePolicy"] == "FallbackToLogsOnError"


def test_pods_fit_restricted_namespaces() -> None:
    for manifest in (made(pool()), migration_job(pool(), MIGRATION)):
        inside = manifest["spec"]["template"]["spec"]
        security = inside["containers"][0]["securityContext"]
        assert inside["automountServiceAccountToken"] is False
        assert inside["securityContext"]["runAsNonRoot"] is True
        assert inside["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True
        assert security["capabilities"] == {"drop": ["ALL"]}


def test_pods_get_the_drain_timeout_and_time_to_give_back() -> None:
    inside = made(pool(spec(drain_timeout_seconds=40)))["spec"]["template"]["spec"]

    assert inside["terminationGracePeriodSeconds"] == 60


def test_a_rollout_takes_no_worker_before_another_is_ready() -> None:
    assert made(pool())["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_objects_belong_to_the_pool() -> None:
    for manifest in (made(pool()), migration_job(pool(), MIGRATION)):
        [owner] = manifest["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"], owner["controller"]) == ("KongTaskPool", "uid-1", True)


def test_the_selector_selects_workers_and_not_migrations() -> None:
    worker = made(pool())["spec"]["template"]["metadata"]["labels"]
    job = migration_job(pool(), MIGRATION)["spec"]["template"]["metadata"]["labels"]

    assert worker_selector(KEY).items() <= worker.items()
    assert not worker_selector(KEY).items() <= job.items()


def test_the_connection_string_comes_from_the_secret() -> None:
    assert environment(pool())["DATABASE_URL"]["valueFrom"] == {
        "secretKeyRef": {"name": "database", "key": "uri"}
    }


def test_a_worker_is_called_like_its_pod() -> None:
    found = environment(pool())

    assert found["POD_NAME"]["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    assert found["KONGTASK_WORKER_NAME"]["value"] == "$(POD_NAME)"
    assert list(found).index("POD_NAME") < list(found).index("KONGTASK_WORKER_NAME")


def test_tracing_becomes_environment() -> None:
    tracing = Tracing(
        mode="Enabled", endpoint="http://jaeger:4318", protocol="HttpProtobuf", sampling_percent=25
    )
    values = {
        name: each.get("value") for name, each in environment(pool(spec(tracing=tracing))).items()
    }

    assert values["OTEL_SERVICE_NAME"] == "mail"
    assert values["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://jaeger:4318"
    assert values["OTEL_EXPORTER_OTLP_PROTOCOL"] == "http/protobuf"
    assert values["OTEL_TRACES_SAMPLER"] == "parentbased_traceidratio"
    assert values["OTEL_TRACES_SAMPLER_ARG"] == "0.25"
    assert not any(name.startswith("OTEL") for name in environment(pool()))


def test_a_variable_of_the_users_wins_and_stands_once() -> None:
    tracing = Tracing(mode="Enabled", endpoint="http://jaeger:4317")
    mine = EnvVar(name="OTEL_SERVICE_NAME", value="shop")

    listed = container(pool(spec(tracing=tracing, env=(mine,))))["env"]

    assert [each for each in listed if each["name"] == "OTEL_SERVICE_NAME"] == [
        {"name": "OTEL_SERVICE_NAME", "value": "shop"}
    ]


def test_a_variable_may_come_from_elsewhere() -> None:
    source = {"configMapKeyRef": {"name": "settings", "key": "colour"}}

    found = environment(pool(spec(env=(EnvVar(name="COLOUR", value_from=source),))))

    assert found["COLOUR"] == {"name": "COLOUR", "valueFrom": source}


def test_only_what_reaches_the_workers_changes_their_revision() -> None:
    usual = worker_revision(spec(), "f1")

    assert worker_revision(scaled(max_replicas=50), "f1") == usual
    assert worker_revision(spec(crontab="* * * * * report"), "f1") == usual
    assert worker_revision(spec(suspend=True, replicas=3), "f1") == usual
    for changed in (spec(image="shop/tasks:2"), spec(concurrency=3), spec(modules=("a",))):
        assert worker_revision(changed, "f1") != usual
    assert worker_revision(spec(), "f2") != usual


def test_the_secrets_content_is_marked_by_a_fingerprint_alone() -> None:
    annotations = made(replace(pool(), uid="uid-1"))["spec"]["template"]["metadata"]["annotations"]

    assert annotations["kongtask.dev/secret-hash"] == "f1"
    assert "hunter2" not in str(made(pool()))
