"""Reading a pool from its manifest without an API server."""

from __future__ import annotations

from typing import Any

import pytest
from pool_manifests import BAD, good, manifest

from kongtask.errors import ConfigurationError
from kongtask.operator.manifest import pool_definition, pool_from_manifest
from kongtask.operator.model import EnvVar, PoolKey, PoolSpec, Scaling, SecretRef
from kongtask.operator.rules import PREDICATES


def test_a_small_manifest_takes_every_default() -> None:
    pool = pool_from_manifest(manifest({}))

    assert pool.key == PoolKey("default", "mail")
    assert pool.spec == PoolSpec(image="shop/tasks:1", secret=SecretRef(name="database"))


def test_a_full_manifest_is_read_whole() -> None:
    spec = pool_from_manifest(good("full")).spec

    assert spec.scaling == Scaling(
        min_replicas=1,
        max_replicas=4,
        target_jobs_per_replica=5,
        cooldown_seconds=30,
        poll_period_seconds=2,
    )
    assert spec.modules == ("shop.tasks", "mail")
    assert spec.env[0] == EnvVar(name="COLOUR", value="red")
    assert spec.resources == {"requests": {"cpu": "2", "memory": "64Mi"}}
    assert spec.tracing.endpoint == "http://jaeger:4317"
    assert spec.drain_timeout_seconds == 20


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_a_bad_manifest_is_refused(bad: tuple[dict[str, Any], str]) -> None:
    spec, sentence = bad

    with pytest.raises(ConfigurationError) as refused:
        pool_from_manifest(manifest(spec))

    assert sentence in str(refused.value)


def test_every_rule_of_the_definition_is_known_here() -> None:
    def rules(schema: dict[str, Any]) -> list[str]:
        own = [each["rule"] for each in schema.get("x-kubernetes-validations", ())]
        inner = [*schema.get("properties", {}).values(), schema.get("items")]
        return own + [rule for each in inner if each for rule in rules(each)]

    found = [rule for rule in rules(pool_definition()) if "self.matches" not in rule]

    assert set(found) == set(PREDICATES)


def test_another_kind_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="is a v1 ConfigMap: write apiVersion"):
        pool_from_manifest({"apiVersion": "v1", "kind": "ConfigMap"})


def test_a_stored_pool_may_have_fields_of_a_newer_definition() -> None:
    newer = manifest({"shard": 3})

    assert pool_from_manifest(newer, stored=True).spec.image == "shop/tasks:1"


def test_every_field_of_the_definition_is_described() -> None:
    def bare(schema: dict[str, Any], path: str) -> list[str]:
        missing = [] if "description" in schema or path.count(".") < 1 else [path]
        for name, each in schema.get("properties", {}).items():
            missing += bare(each, f"{path}.{name}")
        return missing

    properties = pool_definition()["properties"]

    assert bare(properties["spec"], "spec") + bare(properties["status"], "status") == []
