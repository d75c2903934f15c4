"""Reads a KongTaskPool from its manifest with the definition that the cluster uses.

Defaults and rules come from `crds/kongtaskpool.yaml` alone, so a manifest is refused here for the
reason and in the words of the API server. It refuses to read anything else from the disk.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from kongtask.errors import ConfigurationError
from kongtask.operator.model import (
    EnvVar,
    Pool,
    PoolKey,
    PoolSpec,
    Scaling,
    SecretRef,
    Tracing,
)
from kongtask.operator.rules import UNKNOWN_FIELD, violations, with_defaults
from kongtask.operator.status_record import status_from_manifest

_PACKAGE = Path(__file__).resolve().parent.parent

API_VERSION = "kongtask.dev/v1alpha1"
KIND = "KongTaskPool"


@cache
def pool_definition() -> dict[str, Any]:
    """Return the schema of a pool from the definition in the wheel, else in the checkout."""
    installed = _PACKAGE / "crds"
    folder = installed if installed.is_dir() else _PACKAGE.parent / "crds"
    definition = yaml.safe_load((folder / "kongtaskpool.yaml").read_text(encoding="utf-8"))
    schema: dict[str, Any] = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def pool_from_manifest(manifest: Mapping[str, Any], *, stored: bool = False) -> Pool:
    """Return the pool that a manifest describes, defaults filled in.

    Raises `ConfigurationError` with the sentences the API server would give. What an API server
    `stored` may have fields of a newer definition; they are ignored.
    """
    _check_kind(manifest)
    whole = with_defaults(pool_definition(), copy.deepcopy(dict(manifest)))
    metadata = whole["metadata"]
    status = whole.pop("status", None) or {}
    found = violations(pool_definition(), whole)
    if stored:
        found = [each for each in found if not each.startswith(UNKNOWN_FIELD)]
    if found:
        raise ConfigurationError(f'{KIND} "{metadata["name"]}" is invalid: {"; ".join(found)}')
    return _pool(metadata, whole["spec"], status)


def _check_kind(manifest: Mapping[str, Any]) -> None:
    given = f"{manifest.get('apiVersion')} {manifest.get('kind')}"
    if given != f"{API_VERSION} {KIND}":
        raise ConfigurationError(
            f"the manifest is a {given}: write apiVersion: {API_VERSION} and kind: {KIND}"
        )
    if not (manifest.get("metadata") or {}).get("name"):
        raise ConfigurationError("metadata.name: Required value: give the pool a name")


def _pool(metadata: Mapping[str, Any], spec: Mapping[str, Any], status: Mapping[str, Any]) -> Pool:
    deleting = metadata.get("deletionTimestamp")
    return Pool(
        key=PoolKey(metadata.get("namespace") or "default", metadata["name"]),
        uid=metadata.get("uid", ""),
        generation=int(metadata.get("generation", 1)),
        created_at=_moment(metadata.get("creationTimestamp")) or datetime.fromtimestamp(0, UTC),
        spec=_spec(spec),
        status=status_from_manifest(status),
        deleting_since=_moment(deleting),
    )


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text.replace("Z", "+00:00"))


def _spec(spec: Mapping[str, Any]) -> PoolSpec:
    return PoolSpec(
        image=spec["image"],
        image_pull_policy=spec.get("imagePullPolicy"),
        modules=tuple((spec.get("tasks") or {}).get("modules") or ()),
        concurrency=spec["concurrency"],
        schema=spec["schema"],
        secret=SecretRef(**spec["database"]["secretRef"]),
        crontab=spec.get("crontab"),
        scaling=_scaling(spec["scaling"]),
        replicas=spec.get("replicas"),
        drain_timeout_seconds=spec["drain"]["timeoutSeconds"],
        tracing=_tracing(spec["tracing"]),
        resources=_resources(spec.get("resources") or {}),
        env=tuple(_variable(each) for each in spec.get("env") or ()),
        suspend=spec["suspend"],
    )


def _scaling(scaling: Mapping[str, Any]) -> Scaling:
    return Scaling(
        mode=scaling["mode"],
        min_replicas=scaling["minReplicas"],
        max_replicas=scaling["maxReplicas"],
        target_jobs_per_replica=scaling.get("targetJobsPerReplica"),
        cooldown_seconds=scaling["cooldownSeconds"],
        poll_period_seconds=scaling["pollPeriodSeconds"],
    )


def _tracing(tracing: Mapping[str, Any]) -> Tracing:
    return Tracing(
        mode=tracing["mode"],
        endpoint=tracing.get("endpoint"),
        protocol=tracing["protocol"],
        sampling_percent=tracing["samplingPercent"],
    )


def _resources(resources: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    return {
        kind: {name: str(amount) for name, amount in amounts.items()}
        for kind, amounts in resources.items()
    }


def _variable(variable: Mapping[str, Any]) -> EnvVar:
    return EnvVar(
        name=variable["name"], value=variable.get("value"), value_from=variable.get("valueFrom")
    )
