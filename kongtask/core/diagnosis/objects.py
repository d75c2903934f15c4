"""Judges what a role may do with the tables, and whether they are as the migrations made them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kongtask.core.diagnosis.finding import Finding, fine, listed, wrong
from kongtask.core.diagnosis.shape import Key, Shape, is_of_graphile_worker


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """Who asks, and what it may do beside the tables.

    may_use: whether it may use the schema. may_add: whether it was given the functions that only
    add.
    """

    role: str
    may_use: bool
    may_add: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRights:
    """What a worker needs on one table and this role lacks.

    is_hidden: no policy shows it any row.
    """

    name: str
    missing: tuple[str, ...]
    is_hidden: bool

    @property
    def is_readable(self) -> bool:
        """Whether what is read from it is the truth."""
        return "select" not in self.missing and not self.is_hidden


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """An object that stands in the schema; is_valid is false for broken indexes, triggers off."""

    kind: str
    name: str
    definition: str
    is_valid: bool


def rights(role: Role, tables: Sequence[TableRights], schema: str) -> list[Finding]:
    """Judge what the role may do."""
    lacks = [_lack(table) for table in tables if table.missing or table.is_hidden]
    if not role.may_use:
        lacks = [f"usage on schema {schema}"]
    if not lacks:
        return [fine("rights", f"role {role.role!r} may do all that a worker does")]
    private = [table for table in tables if table.name.startswith("_private")]
    if role.may_use and role.may_add and not any(table.is_readable for table in private):
        return [fine("rights", f"role {role.role!r} may add jobs and nothing else")]
    command = shlex.join(["kongtask", "roles", "--worker-role", role.role, "-s", schema])
    return [
        wrong(
            "rights",
            f"role {role.role!r} lacks {listed(lacks)}",
            why="no worker can run jobs with this role",
            then=f"let the owner of the schema run what `{command}` prints, or ask as the role of "
            "your workers",
        )
    ]


def _lack(table: TableRights) -> str:
    if table.missing:
        return f"{'/'.join(table.missing)} on {table.name}"
    return f"a policy that shows the rows of {table.name}"


def drift(standing: Iterable[Standing], expected: Shape) -> list[Finding]:
    """Judge whether what stands in the schema is what the migrations make."""
    objects = {(each.kind, each.name): each for each in standing}
    missing = [key for key in expected if key not in objects]
    changed = [
        key
        for key, each in objects.items()
        if key in expected
        and each.definition != expected[key]
        and not is_of_graphile_worker(each.kind, each.name, each.definition)
    ]
    invalid = [key for key, each in objects.items() if key in expected and not each.is_valid]
    found = [*_missing(missing, expected), *_changed(changed), *_invalid(invalid)]
    return found or [fine("drift", f"all {len(expected)} objects are as the migrations made them")]


def _missing(keys: Sequence[Key], expected: Mapping[Key, str]) -> list[Finding]:
    if not keys:
        return []
    indexes = [f"`{expected[key]}`" for key in keys if key[0] == "index"]
    recreated = f"make them again, in this schema: {'; '.join(indexes)}. " if indexes else ""
    return [
        wrong(
            "drift",
            f"missing: {_names(keys)}",
            why="without an index, fetching reads the whole table; without the others, workers "
            "fail or forget",
            then=f"{recreated}For anything else, compare with sql/schema.sql of this version, or "
            "restore the schema from a backup",
        )
    ]


def _changed(keys: Sequence[Key]) -> list[Finding]:
    if not keys:
        return []
    return [
        wrong(
            "drift",
            f"not as the migrations made them: {_names(keys)}",
            why="jobs may be added or run by other rules than those that are documented",
            then="compare with sql/schema.sql of this version and undo what was changed by hand",
        )
    ]


def _invalid(keys: Sequence[Key]) -> list[Finding]:
    if not keys:
        return []
    return [
        wrong(
            "drift",
            f"there, but without effect: {_names(keys)}",
            why="an invalid index is kept up to date and never used; a trigger that is off does "
            "nothing",
            then="`reindex index concurrently NAME`, `alter table … enable trigger NAME`",
        )
    ]


def _names(keys: Sequence[Key]) -> str:
    return listed([f"{kind} {name}" for kind, name in sorted(keys)])
