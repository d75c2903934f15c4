# ruff: noqa: E501  (a sentence is compared as it is read)
"""Manifests that are accepted and manifests that are refused, each with the sentence for it."""

from __future__ import annotations

import copy
from typing import Any


def manifest(changes: dict[str, Any], name: str = "mail") -> dict[str, Any]:
    """A small manifest with some fields of spec changed; None takes a field away."""
    spec: dict[str, Any] = {
        "image": "shop/tasks:1",
        "database": {"secretRef": {"name": "database"}},
    }
    spec.update(copy.deepcopy(changes))
    return {
        "apiVersion": "kongtask.dev/v1alpha1",
        "kind": "KongTaskPool",
        "metadata": {"name": changes.get("~name", name)},
        "spec": {key: each for key, each in spec.items() if each is not None and key != "~name"},
    }


def good(name: str) -> dict[str, Any]:
    """One of the accepted manifests."""
    return manifest(GOOD[name], name="mail")


GOOD: dict[str, dict[str, Any]] = {
    "smallest": {},
    "manual": {"scaling": {"mode": "Manual"}, "replicas": 3},
    "a crontab's names, nicknames and zones": {
        "crontab": "@daily report\n@Hourly shop/report {}\n0 4 * * * shop/report ?id=four\n"
        "0 9-17/2 * JAN,mar-may mon-fri report ?tz=Europe/Berlin&id=office\n",
    },
    "full": {
        "imagePullPolicy": "IfNotPresent",
        "tasks": {"modules": ["shop.tasks", "mail"]},
        "concurrency": 5,
        "schema": "shop_jobs",
        "crontab": '*/5 * * * * report ?max=3&id=five {"a": 1}\n# a comment\n\n0 4 * * 1-5 clean\n',
        "scaling": {
            "minReplicas": 1,
            "maxReplicas": 4,
            "targetJobsPerReplica": 5,
            "cooldownSeconds": 30,
            "pollPeriodSeconds": 2,
        },
        "drain": {"timeoutSeconds": 20},
        "tracing": {"mode": "Enabled", "endpoint": "http://jaeger:4317", "samplingPercent": 50},
        "resources": {"requests": {"cpu": 2, "memory": "64Mi"}},
        "env": [
            {"name": "COLOUR", "value": "red"},
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "mail"}}},
        ],
        "suspend": True,
    },
}

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no image": ({"image": None}, "spec.image: Required value"),
    "an empty image": (
        {"image": ""},
        'spec.image: Invalid value: "": spec.image in body should be at least 1 chars long',
    ),
    "no database": ({"database": None}, "spec.database: Required value"),
    "no Secret": ({"database": {}}, "spec.database.secretRef: Required value"),
    "a misspelt field": (
        {"concurency": 3}, 'strict decoding error: unknown field "spec.concurency"'),
    "no concurrency": (
        {"concurrency": 0},
        "spec.concurrency: Invalid value: 0: "
        "spec.concurrency in body should be greater than or equal to 1",
    ),
    "a word for a number": (
        {"concurrency": "many"},
        'spec.concurrency: Invalid value: "string": '
        'spec.concurrency in body must be of type integer: "string"',
    ),
    "a word for a switch": (
        {"suspend": "yes"},
        'spec.suspend: Invalid value: "string": '
        'spec.suspend in body must be of type boolean: "string"',
    ),
    "a schema in capitals": (
        {"schema": "Jobs"},
        "spec.schema: Invalid value: \"Jobs\": spec.schema in body should match '^[a-z_][a-z0-9_]*$'",
    ),
    "an unknown mode": (
        {"scaling": {"mode": "Magic"}},
        'spec.scaling.mode: Unsupported value: "Magic": supported values: "Auto", "Manual"',
    ),
    "too many replicas": (
        {"scaling": {"maxReplicas": 5000}},
        "spec.scaling.maxReplicas in body should be less than or equal to 1000",
    ),
    "a minimum above the maximum": (
        {"scaling": {"minReplicas": 11}},
        "spec.scaling.minReplicas: Invalid value: scaling.minReplicas must be at most "
        "scaling.maxReplicas: lower the one or raise the other",
    ),
    "replicas in mode Auto": (
        {"replicas": 3},
        "spec.replicas: Invalid value: replicas may be set only when scaling.mode is Manual: "
        "set scaling.minReplicas and scaling.maxReplicas instead",
    ),
    "no replicas in mode Manual": (
        {"scaling": {"mode": "Manual"}},
        "spec.replicas: Invalid value: replicas must be set when scaling.mode is Manual: "
        "add replicas, or leave scaling.mode at Auto",
    ),
    "a crontab with an unknown nickname": (
        {"crontab": "@reboot report"},
        "spec.crontab: Invalid value: \"@reboot report\": crontab must hold lines of the form "
        "'minute hour day month weekday task ?options {payload}'",
    ),
    "a crontab with the last day": (
        {"crontab": "0 0 L * * report"}, "(L and W are not known)"),
    "a crontab with a day for a month": (
        {"crontab": "0 0 * mon * report"}, "names of months and days too"),
    "a crontab with six fields": (
        {"crontab": "0 0 4 * * * report"}, "crontab must hold lines of the form"),
    "a crontab with six fields and a name": (
        {"crontab": "0 0 4 * * mon report"}, "crontab must hold lines of the form"),
    "a crontab with four fields": (
        {"crontab": "* * * * report"}, "crontab must hold lines of the form"),
    "tracing to nowhere": (
        {"tracing": {"mode": "Enabled"}},
        "spec.tracing.endpoint: Invalid value: tracing.endpoint must be set when tracing.mode is "
        "Enabled: add the collector's URL",
    ),
    "a collector without a scheme": (
        {"tracing": {"endpoint": "jaeger:4317"}},
        "spec.tracing.endpoint in body should match '^https?://\\S+$'",
    ),
    "a module with a space": (
        {"tasks": {"modules": ["shop tasks"]}},
        'spec.tasks.modules[0]: Invalid value: "shop tasks": spec.tasks.modules[0] in body should '
        "match",
    ),
    "a quantity that is none": (
        {"resources": {"limits": {"memory": "lots"}}},
        'spec.resources.limits.memory: Invalid value: "lots": '
        "spec.resources.limits.memory in body should match",
    ),
    "a variable of the operator's": (
        {"env": [{"name": "DATABASE_URL", "value": "x"}]},
        "spec.env[0].name: Invalid value: env must not set a variable that the operator sets "
        "itself: use database.secretRef, schema, concurrency, tasks.modules or "
        "drain.timeoutSeconds",
    ),
    "a variable twice": (
        {"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]},
        'spec.env[1]: Duplicate value: {"name":"A"}',
    ),
    "a variable of two minds": (
        {"env": [{"name": "A", "value": "1",
                  "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]},
        "spec.env[0].valueFrom: Invalid value: env may have value or valueFrom, not both: "
        "remove one",
    ),
    "a variable from nowhere": (
        {"env": [{"name": "A", "valueFrom": {}}]},
        "spec.env[0].valueFrom: Invalid value: env valueFrom must have exactly one of "
        "secretKeyRef, configMapKeyRef and fieldRef: keep one",
    ),
    "a long name": (
        {"~name": "m" * 46}, "metadata.name must have at most 45 characters: choose a shorter name"),
    "a dotted name": (
        {"~name": "mail.eu"}, "metadata.name must not contain a dot: use a hyphen"),
}  # fmt: skip
