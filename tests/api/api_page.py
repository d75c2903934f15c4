"""Makes docs/api.md of the code's own docstrings and the names of KongTask for Go.

`python tests/api/api_page.py` writes the page anew.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from textwrap import dedent
from typing import Any

from go_names import PARTS, Row, rows

import kongtask
import kongtask.core.task_spec
import kongtask.worker.tasks

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "api.md"
HEAD = """# Python API

Everything public is imported from `kongtask`; what is not on this page may change in any release. The page is made of the
docstrings by `make api`, and its examples are run as tests. They stand in a coroutine where `pool` is an asyncpg pool, `utils`
is `WorkerUtils(pool)`, `database_url` leads to the same database, and `send_mail` is a handler.

- [Names of KongTask for Go](#names-of-kongtask-for-go)
- [Types and functions](#types-and-functions)
- [Events](#events)

## Names of KongTask for Go

Each name of its API, what it is called here, and the test that shows it. Functions take no context: cancel the asyncio task.
Where Go returns an error, Python raises one. Durations are `timedelta`, moments are aware `datetime` values.
"""  # noqa: E501
FIELD = re.compile(r"^(\w+(?:, \w+)*): (.*)", re.DOTALL)


def page() -> str:
    """Return the whole page."""
    names = [name for name in kongtask.__all__ if name not in ("__version__", "events")]
    data = [each for _, each in inspect.getmembers(kongtask.events, _is_event_data)]
    return "\n".join(
        [
            HEAD,
            *_table([row for part in PARTS if not part.names for row in rows(part)]),
            *(line for part in PARTS if part.names for line in _table(rows(part))),
            "## Types and functions\n",
            *(_entry(name, getattr(kongtask, name)) for name in names),
            "## Events\n",
            "| `kongtask.events` | name | |\n|---|---|---|",
            *(f"| `{name}` | `{getattr(kongtask.events, name)}` | {text} |"
              for name, text in constants(kongtask.events).items()),
            "",
            *(_entry(f"events.{each.__name__}", each) for each in data),
        ]
    ).rstrip() + "\n"  # fmt: skip


def found(python: str) -> Any:
    """Return what a name below `kongtask` stands for; a dataclass's field is the field."""
    thing: Any = kongtask
    for word in python.split("."):
        fields = getattr(thing, "__dataclass_fields__", {})
        thing = fields[word] if word in fields else getattr(thing, word)
    return thing


def explanation(python: str) -> str:
    """Return the first sentence that documents a name, or an empty text."""
    owner, _, leaf = python.rpartition(".")
    thing = found(python)
    if isinstance(thing, dataclasses.Field) or (owner and isinstance(thing, str)):
        parent = found(owner) if owner else kongtask
        known = constants(parent) if inspect.ismodule(parent) else fields(parent)
        return _sentence(known.get(leaf, ""))
    return _sentence(documentation(python, thing))


def documentation(name: str, thing: Any) -> str:
    """Return a thing's docstring; that of an alias stands below it in its module."""
    if inspect.isclass(thing) or inspect.isroutine(thing) or inspect.ismodule(thing):
        return inspect.getdoc(thing) or ""
    if isinstance(thing, property):
        return thing.__doc__ or ""
    for module in (kongtask.core.task_spec, kongtask.worker.tasks):
        if text := constants(module).get(name):
            return text
    return ""


def fields(kind: Any) -> dict[str, str]:
    """Return the documented fields of a class: the `name: text` entries of its docstring."""
    known: dict[str, str] = {}
    for cls in reversed(kind.__mro__):
        for entry in _entries(inspect.cleandoc(cls.__dict__.get("__doc__") or "")):
            if match := FIELD.match(entry):
                known |= dict.fromkeys(match[1].split(", "), " ".join(match[2].split()))
    return known


def constants(module: Any) -> dict[str, str]:
    """Return the documented constants of a module: the strings below their assignments."""
    body = ast.parse(inspect.getsource(module)).body
    return {
        target.id: inspect.cleandoc(text)
        for line, after in pairwise(body)
        if isinstance(line, ast.Assign) and isinstance(after, ast.Expr)
        for target in line.targets
        if isinstance(target, ast.Name)
        and isinstance(after.value, ast.Constant)
        and isinstance(text := after.value.value, str)
    }


def methods(kind: type) -> Iterator[tuple[str, Any]]:
    """Yield a class's own public methods and properties."""
    for name, member in vars(kind).items():
        thing = member.__func__ if isinstance(member, classmethod | staticmethod) else member
        is_method = inspect.isfunction(thing) or isinstance(thing, property)
        if is_method and not name.startswith("_"):
            yield name, thing


def _is_event_data(thing: Any) -> bool:
    return inspect.isclass(thing) and thing.__module__ == kongtask.events.__name__


def _table(named: list[Row]) -> list[str]:
    lines = [f"| `{each.go}` | `{each.python}` | {explanation(each.python)} | {_test(each)} |"
             for each in named]  # fmt: skip
    return ["| Go | Python | | test |\n|---|---|---|---|", *lines, ""]


def _test(row: Row) -> str:
    return f"[{row.test}](../tests/api/test_promises.py)"


def _sentence(text: str) -> str:
    paragraph = " ".join(text.split("\n\n")[0].split())
    sentence = re.split(r"(?<=[.:]) (?=[A-Z])|(?<=\.)$", paragraph)[0]
    return sentence.replace("|", "\\|")


def _entry(name: str, thing: Any) -> str:
    is_data = dataclasses.is_dataclass(thing)
    is_plain = is_data or not (inspect.isclass(thing) or inspect.isroutine(thing))
    shown = "" if is_plain else _signature(thing)
    lines = [f"### {name}\n", *([f"`{name}{shown}`\n"] if shown else [])]
    lines.append(_markdown(documentation(name, thing)))
    if inspect.isclass(thing):
        for method, member in methods(thing):
            call = "" if isinstance(member, property) else _signature(member)
            lines += [f"**`{method}{call}`**\n", _markdown(inspect.getdoc(member) or "")]
    return "\n".join(lines)


def _signature(thing: Any) -> str:
    try:
        given = inspect.signature(thing).parameters.values()
    except ValueError:
        return ""
    words: list[str] = []
    for each in given:
        if each.name in ("self", "cls"):
            continue
        if each.kind is each.KEYWORD_ONLY and "*" not in words:
            words.append("*")
        words.append(each.name + ("" if each.default is each.empty else f"={each.default!r}"))
    return f"({', '.join(words)})"


def _markdown(text: str) -> str:
    lines: list[str] = []
    for block in _blocks(text):
        if block.startswith(">>>"):
            lines.append(f"```pycon\n{block}\n```\n")
        elif block.startswith("Example::"):
            lines.append(f"```py\n{dedent(block.removeprefix('Example::').strip(chr(10)))}\n```\n")
        elif FIELD.match(block):
            lines += [_item(each) for each in _entries(block)]
            lines.append("")
        else:
            lines.append(" ".join(block.split()) + "\n")
    return "\n".join(lines)


def _item(entry: str) -> str:
    match = FIELD.match(entry)
    text = " ".join(entry.split())
    return f"- `{match[1]}`: {' '.join(match[2].split())}" if match else f"  {text}"


def _entries(text: str) -> list[str]:
    """Split what is written as `name: text` lines, each with its indented lines."""
    return [each for each in re.split(r"\n(?=\S)", text) if each.strip()]


def _blocks(text: str) -> list[str]:
    """Split a docstring into paragraphs, doctests and whole examples."""
    found: list[str] = []
    for block in re.split(r"\n\s*\n", text):
        if found and found[-1].startswith("Example::") and block.startswith(" "):
            found[-1] += f"\n\n{block}"
        elif block.strip():
            found.append(block)
    return found


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
