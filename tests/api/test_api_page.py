"""docs/api.md says what the code says, and every name on it is documented and shown by a test."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from pathlib import Path

import api_page
import pytest
from api_page import documentation, explanation, fields, found, methods
from go_names import PARTS, Row, rows

import kongtask

ROWS = [row for part in PARTS for row in rows(part)]
TESTS = {
    each.name: ast.unparse(each)
    for each in ast.parse((Path(__file__).parent / "test_promises.py").read_text()).body
    if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
}
PROMISED = 133
"""How many names the Go API has; nobody drops one from go_names unseen."""

PUBLIC = [name for name in kongtask.__all__ if not name.startswith("__")]
EVENT_DATA = [name for name in vars(kongtask.events) if name.endswith("Data")]
CLASSES = [name for name in PUBLIC if inspect.isclass(getattr(kongtask, name))]
EXAMPLE = re.compile(r"(?s)(?:>>>|Example::).*")
WITHOUT_EXAMPLE = {"Logger", "StandardLogger", "ScopedLogger", "StructlogLogger"}
"""Four methods of one name each: the class's example stands for them all."""


def test_the_page_is_made_of_the_code() -> None:
    assert api_page.PAGE.read_text(encoding="utf-8") == api_page.page(), "run `make api`"


def test_every_promised_name_is_there_once() -> None:
    assert len({row.go for row in ROWS}) == len(ROWS) == PROMISED


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.go)
def test_a_promised_name_is_documented_and_used_in_its_test(row: Row) -> None:
    assert explanation(row.python), f"{row.python} is not documented"
    leaf = row.python.rpartition(".")[2]
    assert re.search(rf"\b{leaf}\b", TESTS[row.test]), f"{row.test} does not use {leaf}"


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_has_a_docstring_with_an_example(name: str) -> None:
    text = documentation(name, getattr(kongtask, name))
    if name != "events":
        assert ">>>" in text or "Example::" in text


@pytest.mark.parametrize("name", [*CLASSES, *(f"events.{each}" for each in EVENT_DATA)])
def test_every_field_is_documented(name: str) -> None:
    kind = found(name)
    if dataclasses.is_dataclass(kind):
        assert set(kind.__dataclass_fields__) <= set(fields(kind))


@pytest.mark.parametrize("name", CLASSES)
def test_every_method_is_documented_and_in_an_example(name: str) -> None:
    kind = getattr(kongtask, name)
    texts = {method: inspect.getdoc(member) or "" for method, member in methods(kind)}
    every = (inspect.getdoc(kind) or "", *texts.values())
    examples = "\n".join(found for text in every for found in EXAMPLE.findall(text))
    for method, text in texts.items():
        assert text, f"{name}.{method} has no docstring"
        if name not in WITHOUT_EXAMPLE:
            assert re.search(rf"\.{method}\b", examples), f"no example of {name}.{method}"


def test_every_event_is_documented() -> None:
    names = {name for name in vars(kongtask.events) if name.isupper()} - {"UTC"}
    assert names == set(api_page.constants(kongtask.events))


def test_names_that_are_not_there_are_found_out() -> None:
    with pytest.raises(AttributeError):
        found("WorkerPoolOptions.colour")
