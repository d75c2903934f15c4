"""The definition of a pool, as a real API server takes it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from kubernetes import client
from pool_manifests import BAD, GOOD, manifest

from kongtask.operator.manifest import pool_from_manifest

PLACE = ("kongtask.dev", "v1alpha1", "default", "kongtaskpools")


def create(api: client.ApiClient, body: dict[str, Any]) -> dict[str, Any]:
    pools = client.CustomObjectsApi(api)
    made: dict[str, Any] = pools.create_namespaced_custom_object(
        *PLACE, body, field_validation="Strict", dry_run="All"
    )
    return made


def refusal(error: client.ApiException) -> str:
    return str(json.loads(error.body)["message"])


def without_value(message: str) -> str:
    """A message without the value it is about, for which older servers name its type."""
    message = message.replace("map[string]interface {}", "")
    return re.sub(r'(Invalid value): (?:"[^"]*"|\d+): ', r"\1: ", message)


@pytest.mark.parametrize("changes", GOOD.values(), ids=GOOD.keys())
def test_a_good_manifest_is_accepted_and_read_alike(
    api: client.ApiClient, changes: dict[str, Any]
) -> None:
    stored = create(api, manifest(changes))

    assert pool_from_manifest(stored).spec == pool_from_manifest(manifest(changes)).spec


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_a_bad_manifest_is_refused_in_the_same_words(
    api: client.ApiClient, bad: tuple[dict[str, Any], str]
) -> None:
    changes, sentence = bad

    with pytest.raises(client.ApiException) as refused:
        create(api, manifest(changes))

    assert without_value(sentence) in without_value(refusal(refused.value))


def test_the_schema_cannot_change(api: client.ApiClient) -> None:
    pools = client.CustomObjectsApi(api)
    pools.create_namespaced_custom_object(*PLACE, manifest({}, name="fixed"))

    with pytest.raises(client.ApiException) as refused:
        pools.patch_namespaced_custom_object(*PLACE, "fixed", {"spec": {"schema": "other"}})

    assert "schema is immutable: create another pool for another schema" in refusal(refused.value)


def test_scale_is_refused_in_mode_auto_and_works_in_mode_manual(api: client.ApiClient) -> None:
    pools = client.CustomObjectsApi(api)
    pools.create_namespaced_custom_object(*PLACE, manifest({}, name="auto"))
    by_hand = manifest({"scaling": {"mode": "Manual"}, "replicas": 1}, name="manual")
    pools.create_namespaced_custom_object(*PLACE, by_hand)
    scale = {"spec": {"replicas": 5}}

    with pytest.raises(client.ApiException) as refused:
        pools.patch_namespaced_custom_object_scale(*PLACE, "auto", scale)
    pools.patch_namespaced_custom_object_scale(*PLACE, "manual", scale)

    assert "set scaling.minReplicas and scaling.maxReplicas instead" in refusal(refused.value)
    assert pools.get_namespaced_custom_object(*PLACE, "manual")["spec"]["replicas"] == 5
