"""The status of a pool in the form in which a cluster keeps it, and back.

One table says which field is which, so that reading is the inverse of writing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from kongtask.operator.model import Condition, PoolStatus, QueueSummary, ScalingMemory

_STATUS = {
    "observed_generation": "observedGeneration",
    "selector": "selector",
    "replicas": "replicas",
    "ready_replicas": "readyReplicas",
    "desired_replicas": "desiredReplicas",
    "draining_replicas": "drainingReplicas",
    "image": "image",
    "current_revision": "currentRevision",
    "target_revision": "targetRevision",
    "schema_version": "schemaVersion",
    "tasks": "tasks",
}
_QUEUE = {
    "ready": "ready",
    "ready_capped": "readyCapped",
    "running": "running",
    "next_run_at": "nextRunTime",
    "observed_at": "observedTime",
}
_SCALING = {
    "last_active": "lastActiveTime",
    "last_needed": "lastNeededTime",
    "last_scaled": "lastScaleTime",
    "reason": "reason",
}
_CONDITION = {
    "type": "type",
    "status": "status",
    "reason": "reason",
    "message": "message",
    "since": "lastTransitionTime",
    "generation": "observedGeneration",
}
_MOMENTS = {"next_run_at", "observed_at", "last_active", "last_needed", "last_scaled", "since"}


def status_to_manifest(status: PoolStatus) -> dict[str, Any]:
    """Return the status as a cluster keeps it; what is unknown is left out."""
    record = _written(status, _STATUS)
    record["conditions"] = [_written(each, _CONDITION) for each in status.conditions]
    record["scaling"] = _written(status.scaling, _SCALING)
    if status.queue is not None:
        record["queue"] = _written(status.queue, _QUEUE)
    if status.migration_job:
        record["migration"] = {"jobName": status.migration_job}
    crontab = {"entries": status.crontab_entries, "nextScheduleTime": status.next_cron_at}
    record["crontab"] = {name: _plain(each) for name, each in crontab.items() if each is not None}
    return record


def status_from_manifest(record: Mapping[str, Any]) -> PoolStatus:
    """Return the status that a cluster kept; what it lacks takes its default."""
    crontab, queue = record.get("crontab") or {}, record.get("queue")
    conditions = (_read(each, _CONDITION) for each in record.get("conditions") or ())
    return PoolStatus(
        **_read(record, _STATUS),
        conditions=tuple(Condition(**each) for each in conditions),
        scaling=ScalingMemory(**_read(record.get("scaling") or {}, _SCALING)),
        queue=QueueSummary(**{"next_run_at": None, **_read(queue, _QUEUE)}) if queue else None,
        migration_job=(record.get("migration") or {}).get("jobName", ""),
        crontab_entries=crontab.get("entries"),
        next_cron_at=_moment(crontab.get("nextScheduleTime")),
    )


def _written(value: object, fields: Mapping[str, str]) -> dict[str, Any]:
    named = {there: getattr(value, here) for here, there in fields.items()}
    return {name: _plain(each) for name, each in named.items() if each is not None}


def _read(record: Mapping[str, Any], fields: Mapping[str, str]) -> dict[str, Any]:
    found = {here: record[there] for here, there in fields.items() if there in record}
    return {name: _value(name, each) for name, each in found.items()}


def _value(name: str, value: Any) -> Any:
    if name in _MOMENTS:
        return _moment(value)
    return tuple(value) if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return list(value) if isinstance(value, tuple) else value


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text.replace("Z", "+00:00"))
