"""Examples that need a database, run as they stand in the docstrings."""

from __future__ import annotations

import ast
import asyncio
import importlib
import inspect
import logging
import pkgutil
import re
from datetime import UTC, datetime, timedelta
from textwrap import dedent
from typing import Any

import asyncpg
import pytest

import kongtask


def documented(module: Any) -> list[tuple[str, Any]]:
    named = [
        (name, each)
        for name, each in vars(module).items()
        if getattr(each, "__module__", "") == module.__name__ and not name.startswith("_")
    ]
    members = [(f"{name}.{key}", member.__func__ if isinstance(member, classmethod) else member)
               for name, each in named if inspect.isclass(each)
               for key, member in vars(each).items()]  # fmt: skip
    return [*named, *members]


def examples() -> dict[str, str]:
    found: dict[str, str] = {}
    for info in pkgutil.walk_packages(kongtask.__path__, "kongtask."):
        if re.match(r"kongtask\.(operator|dev|adapters|cli|__main__)", info.name):
            continue
        for name, each in documented(importlib.import_module(info.name)):
            text = inspect.cleandoc(each.__doc__ or "") if hasattr(each, "__doc__") else ""
            if "Example::\n" in text:
                found[name] = dedent(re.split(r"\n(?=\S)", text.split("Example::\n")[1])[0])
    return found


EXAMPLES = examples()


async def send_mail(payload: Any, helpers: Any) -> None:
    helpers.logger.debug("sent")


@pytest.mark.parametrize("name", EXAMPLES)
async def test_example(
    name: str, pool: asyncpg.Pool[Any], database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "kongtask")
    surroundings = {
        **{each: getattr(kongtask, each) for each in kongtask.__all__},
        "pool": pool, "utils": kongtask.WorkerUtils(pool), "database_url": database_url,
        "send_mail": send_mail, "asyncio": asyncio, "timedelta": timedelta,
        "datetime": datetime, "UTC": UTC, "events": kongtask.events,
    }  # fmt: skip
    code = compile(EXAMPLES[name], f"<{name}>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    running = eval(code, surroundings)
    if inspect.isawaitable(running):
        await running


def test_there_are_examples() -> None:
    assert {"WorkerUtils.add_job", "Helpers.transaction", "run_task_list"} <= set(EXAMPLES)
