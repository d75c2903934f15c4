"""What a worker process finds in its environment: this process's own, and what the pool sets.

Pure: the environment comes in as a mapping. What only a cluster can look up is taken from a
variable of the same name, or left out and named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from kongtask.operator.model import EnvVar, Pool
from kongtask.operator.resources import worker_environment

CODE_VARIABLE = "KONGTASK_DEV_CODE"
"""Names the code that a worker was started with; other code is another revision."""


def pool_environment(pool: Pool, uri: str, outside: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a pool's workers, the name of each one aside.

    Where spans go is taken from outside if it is said there: a manifest names a collector in the
    cluster.
    """
    inner = {
        **worker_environment(pool),
        **{name: value for name, value in outside.items() if name.startswith("OTEL_")},
        "DATABASE_URL": uri,
        "KONGTASK_SCHEMA": pool.spec.schema,
        "PYTHONUNBUFFERED": "1",
    }
    given = {each.name: each.value or "" for each in pool.spec.env if each.value_from is None}
    return {**outside, **inner, **given}


def unresolved(pool: Pool, outside: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for each variable that only a cluster could look up."""
    for each in pool.spec.env:
        if each.value_from is None:
            continue
        source = next(iter(each.value_from), "valueFrom")
        if each.name in outside:
            yield f"env {each.name}: {source} is not looked up, the value of this shell is taken"
        else:
            yield f"env {each.name}: {source} is not looked up here: export {each.name}=…"


def with_code(pool: Pool, fingerprint: str) -> Pool:
    """Return the pool so that its revision depends on the code it runs."""
    code = EnvVar(name=CODE_VARIABLE, value=fingerprint)
    return replace(pool, spec=replace(pool.spec, env=(*pool.spec.env, code)))
