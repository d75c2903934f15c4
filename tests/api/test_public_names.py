"""Public names are loaded when they are used, and nobody sees a difference."""

from __future__ import annotations

import ast
import inspect
import pickle
from pathlib import Path
from typing import Any

import pytest

import kongtask

CLASSES = [name for name in kongtask.__all__ if inspect.isclass(getattr(kongtask, name))]


def imported_for_type_checkers() -> dict[str, str]:
    """Return each name that a type checker sees, with the module it is imported from."""
    tree = ast.parse(Path(kongtask.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if ast.unparse(node).startswith("if TYPE_CHECKING"))
    return {
        alias.asname or alias.name: node.module or ""
        for node in ast.walk(block)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_type_checkers_see_each_name_where_it_is() -> None:
    seen = imported_for_type_checkers()

    assert seen.pop("events") == "kongtask.core"
    assert seen == kongtask._HOME
    assert {*seen, "events", "__version__"} == set(kongtask.__all__)


@pytest.mark.parametrize("name", kongtask.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(kongtask, name) is getattr(kongtask, name)
    assert name in dir(kongtask)


def test_a_star_import_brings_all_of_them() -> None:
    names: dict[str, Any] = {}
    exec("from kongtask import *", names)

    assert set(kongtask.__all__) <= names.keys()
    assert names["events"] is kongtask.events


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_is_pickled_and_inspected_as_where_it_is(name: str) -> None:
    kind = getattr(kongtask, name)

    assert pickle.loads(pickle.dumps(kind)) is kind
    assert kind.__module__ == kongtask._HOME[name]
    assert inspect.getmodule(kind).__name__ == kind.__module__  # type: ignore[union-attr]


def test_a_name_that_is_not_there_is_named() -> None:
    with pytest.raises(AttributeError, match="'kongtask' has no attribute 'Wroker'"):
        kongtask.Wroker  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(ImportError, match="Wroker"):
        exec("from kongtask import Wroker")
