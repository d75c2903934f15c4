"""What stands in a schema that the migrations made, read from the dump that comes with the package.

The dump is compared with PostgreSQL's answer in a test; here it is only read. Names of the schema
are left out, so that any schema can be compared. Functions that Graphile Worker made itself are as
good as ours, whichever of its versions did.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import TypeAlias

Key: TypeAlias = tuple[str, str]
"""Kind and name of an object."""

Shape: TypeAlias = Mapping[Key, str]

_TABLE = re.compile(r"^create table (\w+) \(\n(.*?)\n\);", re.MULTILINE | re.DOTALL)
_VIEW = re.compile(r"^create view (\w+) as$", re.MULTILINE)
_INDEX = re.compile(r"^CREATE (?:UNIQUE )?INDEX (\w+) .*(?=;$)", re.MULTILINE)
_TRIGGER = re.compile(r"^CREATE TRIGGER (\w+) ", re.MULTILINE)
_FUNCTION = re.compile(
    r"^CREATE OR REPLACE FUNCTION (\w+)\(.*?AS \$function\$(.*?)\$function\$;",
    re.MULTILINE | re.DOTALL,
)
_COLUMN = re.compile(r"(\w+) (.+?)(?: not null.*| default .*| generated .*)?")

GRAPHILE_WORKERS = frozenset(
    {
        "60e712fb8531e9ac",  # add_job
        "ce63386bb81585c7",  # add_jobs
        "eec90f1697e2bb23",  # complete_jobs
        "3e624702de162e9a",  # force_unlock_workers
        "b975bd0573bfb762",  # permanently_fail_jobs
        "c73da535c59f7ae6",  # remove_job
        "2446d4d2353c5d86",  # reschedule_jobs
    }
)
"""Digests of functions as Graphile Worker's levels 16 to 20 leave them where ours do not replace
them."""


def shape(dump: str) -> Shape:
    """Return the objects in a dump of the schema graphile_worker.

    >>> shape("create table graphile_worker.t (\\n    id bigint not null\\n);")
    {('table', 't'): '', ('column', 't.id'): 'bigint'}
    """
    text = dump.replace('"graphile_worker".', "").replace("graphile_worker.", "")
    return dict(_objects(text))


def _objects(text: str) -> Iterator[tuple[Key, str]]:
    for name, body in _TABLE.findall(text):
        yield ("table", name), ""
        yield from _parts(name, body)
    for name in _VIEW.findall(text):
        yield ("table", name), ""
    for found in _INDEX.finditer(text):
        yield ("index", found[1]), found[0]
    for name in _TRIGGER.findall(text):
        yield ("trigger", name), ""
    for name, body in _FUNCTION.findall(text):
        yield ("function", name), plain_body(body)


def _parts(table: str, body: str) -> Iterator[tuple[Key, str]]:
    for line in body.splitlines():
        words = line.strip().removesuffix(",")
        if words.startswith("constraint "):
            _, name, definition = words.split(" ", 2)
            yield ("constraint", f"{table}.{name}"), definition
        elif found := _COLUMN.fullmatch(words):
            yield ("column", f"{table}.{found[1]}"), found[2]


def plain_body(body: str) -> str:
    """Return a function's body without the blanks at the ends of its lines."""
    return "\n".join(line.rstrip() for line in body.strip().splitlines())


def is_of_graphile_worker(kind: str, name: str, definition: str) -> bool:
    """Whether it is a function as a version of Graphile Worker made it."""
    return kind == "function" and digest(name, definition) in GRAPHILE_WORKERS


def digest(name: str, definition: str) -> str:
    """Return what tells functions apart."""
    return hashlib.sha256(f"{name} {definition}".encode()).hexdigest()[:16]
