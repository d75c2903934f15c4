"""Checks a value against a structural schema the way the Kubernetes API server does.

It knows the part of OpenAPI that the pool's definition uses and each of its CEL rules as a Python
predicate; a rule it does not know is an error of this program, which a test finds.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]

UNKNOWN_FIELD = "strict decoding error: unknown field"

_RESERVED = (
    "DATABASE_URL", "KONGTASK_SCHEMA", "KONGTASK_CONCURRENCY", "KONGTASK_TASKS",
    "KONGTASK_WORKER_NAME", "KONGTASK_DRAIN_TIMEOUT", "KONGTASK_HEALTH_PORT", "POD_NAME",
)  # fmt: skip

PREDICATES: dict[str, Callable[[Any], bool]] = {
    "size(self.metadata.name) <= 45": lambda it: len(it["metadata"]["name"]) <= 45,
    "!self.metadata.name.contains('.')": lambda it: "." not in it["metadata"]["name"],
    "!has(self.replicas) || self.scaling.mode == 'Manual'": lambda it: (
        "replicas" not in it or it["scaling"]["mode"] == "Manual"
    ),
    "self.scaling.mode != 'Manual' || has(self.replicas)": lambda it: (
        it["scaling"]["mode"] != "Manual" or "replicas" in it
    ),
    "self.minReplicas <= self.maxReplicas": lambda it: it["minReplicas"] <= it["maxReplicas"],
    "self.mode == 'Disabled' || has(self.endpoint)": lambda it: (
        it["mode"] == "Disabled" or "endpoint" in it
    ),
    "!(self.name in [" + ", ".join(f"'{name}'" for name in _RESERVED) + "])": lambda it: (
        it["name"] not in _RESERVED
    ),
    "!(has(self.value) && has(self.valueFrom))": lambda it: (
        not ("value" in it and "valueFrom" in it)
    ),
    "(has(self.secretKeyRef) ? 1 : 0) + (has(self.configMapKeyRef) ? 1 : 0)"
    " + (has(self.fieldRef) ? 1 : 0) == 1": lambda it: (
        len({"secretKeyRef", "configMapKeyRef", "fieldRef"} & set(it)) == 1
    ),
    # A rule about a change holds for a manifest that stands alone.
    "self == oldSelf": lambda it: True,
}

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "boolean": (bool,),
}

_TYPE_NAMES: tuple[tuple[type, str], ...] = (
    (bool, "boolean"), (str, "string"), (int, "integer"),
    (float, "float64"), (dict, "object"), (list, "array"),
)  # fmt: skip


def with_defaults(schema: Schema, value: Any) -> Any:
    """Return the value with the schema's defaults filled in, as the API server stores it."""
    if isinstance(value, dict):
        for name, inner in schema.get("properties", {}).items():
            if name not in value and "default" in inner:
                value[name] = copy.deepcopy(inner["default"])
            if name in value:
                value[name] = with_defaults(inner, value[name])
    elif isinstance(value, list) and "items" in schema:
        return [with_defaults(schema["items"], each) for each in value]
    return value


def violations(schema: Schema, value: Any) -> list[str]:
    """Return one sentence for each rule that the value breaks.

    >>> violations({"type": "integer", "minimum": 1}, 0)
    ['<nil>: Invalid value: 0:  in body should be greater than or equal to 1']
    """
    return list(_structure(schema, value, "")) or list(_rules(schema, value, ""))


def rule_holds(rule: str, value: Any) -> bool:
    """Return whether a CEL rule of the definition holds; raises KeyError for an unknown one."""
    pattern = re.fullmatch(r"self\.matches\(r'''(.*)'''\)", rule, re.DOTALL)
    if pattern:
        return re.search(pattern[1], value) is not None
    return PREDICATES[rule](value)


def _structure(schema: Schema, value: Any, path: str) -> Iterator[str]:
    if schema.get("x-kubernetes-int-or-string"):
        value = str(value) if isinstance(value, int) else value
        expected = "string"
    else:
        expected = schema["type"]
    if not _has_type(value, expected):
        found = json.dumps(_type_name(value))
        yield _sentence(path, found, f"{path} in body must be of type {expected}: {found}")
        return
    for check in (_bounds, _fields, _elements):
        yield from check(schema, value, path)


def _has_type(value: Any, expected: str) -> bool:
    return isinstance(value, _TYPES[expected]) and (
        expected == "boolean" or not isinstance(value, bool)
    )


def _type_name(value: Any) -> str:
    return next((name for kind, name in _TYPE_NAMES if isinstance(value, kind)), "null")


def _sentence(path: str, shown: str, text: str) -> str:
    return f"{path or '<nil>'}: Invalid value: {shown}: {text}"


def _bounds(schema: Schema, value: Any, path: str) -> Iterator[str]:
    shown = json.dumps(value) if isinstance(value, str | int) else ""
    if "enum" in schema and value not in schema["enum"]:
        known = ", ".join(json.dumps(each) for each in schema["enum"])
        yield f"{path}: Unsupported value: {shown}: supported values: {known}"
    for name, broken, text in _LIMITS:
        if name in schema and isinstance(value, str | int) and broken(value, schema[name]):
            yield _sentence(path, shown, f"{path} in body should {text.format(schema[name])}")


_LIMITS: tuple[tuple[str, Callable[[Any, Any], bool], str], ...] = (
    ("minimum", lambda value, limit: value < limit, "be greater than or equal to {}"),
    ("maximum", lambda value, limit: value > limit, "be less than or equal to {}"),
    ("minLength", lambda value, limit: len(value) < limit, "be at least {} chars long"),
    ("maxLength", lambda value, limit: len(value) > limit, "be at most {} chars long"),
    ("pattern", lambda value, limit: re.search(limit, value) is None, "match '{}'"),
)


def _fields(schema: Schema, value: Any, path: str) -> Iterator[str]:
    described = "properties" in schema or "additionalProperties" in schema
    if not isinstance(value, dict) or not described:
        return
    known = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{_join(path, name)}: Required value"
    if len(value) > schema.get("maxProperties", len(value)):
        yield f"{path}: Too many: {len(value)}: must have at most {schema['maxProperties']} items"
    for name, inner in value.items():
        if name in known or "additionalProperties" in schema:
            field = known.get(name) or schema["additionalProperties"]
            yield from _structure(field, inner, _join(path, name))
        else:
            yield f'{UNKNOWN_FIELD} "{_join(path, name)}"'


def _elements(schema: Schema, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, list):
        return
    if len(value) > schema.get("maxItems", len(value)):
        yield f"{path}: Too many: {len(value)}: must have at most {schema['maxItems']} items"
    seen: list[Any] = []
    for index, each in enumerate(value):
        yield from _structure(schema["items"], each, f"{path}[{index}]")
        keys = schema.get("x-kubernetes-list-map-keys", ())
        identity = {key: each.get(key) for key in keys} if isinstance(each, dict) else None
        if identity and identity in seen:
            shown = json.dumps(identity, separators=(",", ":"))
            yield f"{path}[{index}]: Duplicate value: {shown}"
        seen.append(identity)


def _rules(schema: Schema, value: Any, path: str) -> Iterator[str]:
    for rule in schema.get("x-kubernetes-validations", ()):
        if not rule_holds(rule["rule"], value):
            where = path + rule.get("fieldPath", "")
            shown = f"{json.dumps(value)}: " if isinstance(value, str) else ""
            yield f"{where or '<nil>'}: Invalid value: {shown}{rule['message']}"
    if isinstance(value, dict):
        for name, inner in schema.get("properties", {}).items():
            if name in value:
                yield from _rules(inner, value[name], _join(path, name))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _rules(schema["items"], each, f"{path}[{index}]")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
