"""What workers find in their environment."""

from __future__ import annotations

from dev_process import manifest

from kongtask.dev.environment import pool_environment, unresolved, with_code
from kongtask.operator.manifest import pool_from_manifest
from kongtask.operator.model import Pool
from kongtask.operator.revision import migration_name, worker_revision

URI = "postgres://me:secret@db/shop"


def made(**spec: object) -> Pool:
    return pool_from_manifest(manifest(**spec))


def test_the_pool_wins_over_the_shell() -> None:
    pool = made(concurrency=7, env=[{"name": "COLOUR", "value": "red"}])
    shell = {"COLOUR": "blue", "KONGTASK_CONCURRENCY": "1", "DATABASE_URL": "x", "PATH": "/bin"}
    found = pool_environment(pool, URI, shell)
    assert found["COLOUR"] == "red"
    assert found["KONGTASK_CONCURRENCY"] == "7"
    assert found["DATABASE_URL"] == URI
    assert found["PATH"] == "/bin"


def test_the_shell_says_where_spans_go() -> None:
    tracing = {"mode": "Enabled", "endpoint": "http://jaeger.tracing:4317"}
    pool = made(tracing=tracing)
    inside = pool_environment(pool, URI, {})
    assert inside["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://jaeger.tracing:4317"
    shell = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4317"}
    found = pool_environment(pool, URI, shell)
    assert found["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://localhost:4317"


def test_a_reference_is_named_whether_or_not_the_shell_helps() -> None:
    secret = {"secretKeyRef": {"name": "keys", "key": "mail"}}
    pool = made(env=[{"name": "KEY", "valueFrom": secret}, {"name": "A", "value": "1"}])
    assert pool_environment(pool, URI, {"KEY": "k"})["KEY"] == "k"
    assert "KEY" not in pool_environment(pool, URI, {})
    assert list(unresolved(pool, {"KEY": "k"})) == [
        "env KEY: secretKeyRef is not looked up, the value of this shell is taken"
    ]
    assert list(unresolved(pool, {})) == [
        "env KEY: secretKeyRef is not looked up here: export KEY=…"
    ]


def test_other_code_is_another_revision_but_no_other_migration() -> None:
    one, two = (with_code(made(), code) for code in ("1", "2"))
    assert worker_revision(one.spec, "f") != worker_revision(two.spec, "f")
    assert migration_name(one.key, one.spec, "f") == migration_name(two.key, two.spec, "f")
