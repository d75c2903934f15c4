"""Names that change exactly when what they stand for must be replaced.

Only fields chosen here count, so that a change of scaling replaces no worker.
"""

from __future__ import annotations

import hashlib
import json

from kongtask.operator.model import Pool, PoolKey, PoolSpec


def short_hash(value: object, length: int = 8) -> str:
    """Return the first hexadecimal digits of a hash over a value's canonical JSON.

    >>> short_hash({"a": 1, "b": 2}) == short_hash({"b": 2, "a": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def worker_revision(spec: PoolSpec, fingerprint: str) -> str:
    """Return the revision of the workers: it changes exactly when they must be replaced."""
    return short_hash(
        {
            "image": [spec.image, spec.image_pull_policy],
            "work": [spec.modules, spec.concurrency, spec.schema, spec.drain_timeout_seconds],
            "database": [spec.secret.name, spec.secret.key, fingerprint],
            "tracing": [
                spec.tracing.mode, spec.tracing.endpoint,
                spec.tracing.protocol, spec.tracing.sampling_percent,
            ],
            "resources": spec.resources,
            "env": [[each.name, each.value, each.value_from] for each in spec.env],
        },
        10,
    )  # fmt: skip


def known_tasks(pool: Pool, fingerprint: str) -> tuple[str, ...] | None:
    """Return the tasks that the pool's workers announced; None before those of its revision did."""
    current = pool.status.target_revision == worker_revision(pool.spec, fingerprint)
    return pool.status.tasks or None if current else None


def migration_name(key: PoolKey, spec: PoolSpec, fingerprint: str) -> str:
    """Return the name of the migration that must have succeeded before these workers start."""
    return f"{key.name}-migrate-{short_hash([spec.image, spec.schema, fingerprint])}"
