"""Tasks: what a job's name stands for, how functions become tasks, and where they are found.

Nothing is kept globally: the decorator marks a function, and loading collects what is marked.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, overload

from kongtask.core.redaction import without_passwords
from kongtask.core.task_spec import MAX_IDENTIFIER, is_text
from kongtask.errors import ConfigurationError, shown

TaskHandler = Callable[[Any, Any], Awaitable[Any] | Any]
"""Called with a job's payload and its `Helpers`. Returning is success, raising is failure.

A coroutine function gets `Helpers` and shares the event loop. A plain function gets
`ThreadHelpers` and runs in a thread. What it returns is ignored, but for a list of the payload's
length, in which exceptions stand for the elements of a batch that failed.

>>> async def send_email(payload, helpers):
...     helpers.logger.info("sending", {"to": payload["to"]})
>>> check_tasks({"send_email": send_email}) == {"send_email": send_email}
True
"""

Handler = TypeVar("Handler", bound=TaskHandler)

_MARK = "__kongtask_task__"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOptions:
    """How a task's handler is run: see `task`."""

    name: str
    timeout: timedelta | None = None
    process: bool = False


@overload
def task(name: Handler) -> Handler: ...
@overload
def task(
    name: str | None = None, *, timeout: timedelta | None = None, process: bool = False
) -> Callable[[Handler], Handler]: ...
def task(name: Any = None, *, timeout: timedelta | None = None, process: bool = False) -> Any:
    """Mark a function as the handler of a task, named after the function unless a name is given.

    name: 1 to 128 characters. Raises `ConfigurationError` for an option that cannot work.
    timeout: how long a run may take before it is cancelled and counts as failed; more than 0.
    Default is the pool's `job_timeout`. A plain function in a thread cannot be cancelled: it is
    told by `helpers.is_cancelled`, and its run fails when it ends.
    process: run a plain function in a process of its own, for work that keeps a processor busy. It
    must be importable by name.

    >>> @task
    ... async def send_email(payload, helpers): ...
    >>> @task("billing:charge")
    ... def charge(payload, helpers): ...
    >>> sorted(tasks_in({"a": send_email, "b": charge}))
    ['billing:charge', 'send_email']
    """
    if timeout is not None and (not isinstance(timeout, timedelta) or timeout <= timedelta(0)):
        raise ConfigurationError(
            f"timeout must be a timedelta of more than 0, got {shown(timeout)}"
        )
    if not (name is None or isinstance(name, str) or callable(name)):
        raise ConfigurationError(f"a task's name must be text, got {shown(name)}")
    marked = functools.partial(_marked, timeout=timeout, process=process)
    return marked(name, None) if callable(name) else functools.partial(marked, name=name)


def _marked(
    handler: TaskHandler, name: str | None, timeout: timedelta | None, process: bool
) -> TaskHandler:
    found = name or handler.__name__
    if process and is_coroutine_handler(handler):
        raise ConfigurationError(f"task {found!r} runs in a process: write def, not async def")
    setattr(handler, _MARK, TaskOptions(name=found, timeout=timeout, process=process))
    return handler


def task_options(name: str, handler: TaskHandler) -> TaskOptions:
    """Return the options a function was marked with, or the defaults, under a name."""
    marked = getattr(handler, _MARK, None)
    return replace(marked, name=name) if isinstance(marked, TaskOptions) else TaskOptions(name=name)


def tasks_in(namespace: Mapping[str, Any]) -> dict[str, TaskHandler]:
    """Return the marked functions among a module's names, by task name."""
    found: dict[str, TaskHandler] = {}
    for value in namespace.values():
        marked = getattr(value, _MARK, None) if callable(value) else None
        if isinstance(marked, TaskOptions):
            _add(found, marked.name, value)
    return found


def check_tasks(tasks: Mapping[str, TaskHandler]) -> dict[str, TaskHandler]:
    """Return the tasks as a dict; raises `ConfigurationError` for one that cannot work."""
    if not isinstance(tasks, Mapping):
        raise ConfigurationError(
            f"tasks must be a dict of functions by task name, got {shown(tasks)}"
        )
    for name, handler in tasks.items():
        if not is_text(name) or not 1 <= len(name) <= MAX_IDENTIFIER:
            raise ConfigurationError(
                f"task name {shown(name)} must have 1 to {MAX_IDENTIFIER} characters, no NUL and "
                "no lone surrogates: choose another"
            )
        if not callable(handler):
            raise ConfigurationError(
                f"task {name!r} is a {type(handler).__name__}: give a function of "
                "(payload, helpers)"
            )
    return dict(tasks)


def load_tasks(places: Sequence[str]) -> dict[str, TaskHandler]:
    """Import modules and collect their tasks.

    A place is a dotted module name, a Python file, or a folder of Python files. Raises
    `ConfigurationError` when one cannot be imported, holds no task, or two tasks share a name.
    """
    found: dict[str, TaskHandler] = {}
    for place in places:
        if not place.strip():
            raise ConfigurationError(
                f"tasks {place!r} is a place without a name: name a module, a file or a folder"
            )
        here = [each for module in _modules(place) for each in tasks_in(vars(module)).items()]
        if not here:
            raise ConfigurationError(
                f"tasks {place!r} holds no task: put @task (from kongtask import task) above a "
                "function of (payload, helpers)"
            )
        for name, handler in here:
            _add(found, name, handler)
    return found


def is_coroutine_handler(handler: Callable[..., Any]) -> bool:
    """Whether calling the handler gives something to await, rather than blocking."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    called = handler if inspect.isroutine(handler) else getattr(handler, "__call__", handler)  # noqa: B004
    return inspect.iscoroutinefunction(called)


def _add(found: dict[str, TaskHandler], name: str, handler: TaskHandler) -> None:
    other = found.get(name)
    if other is not None and other is not handler:
        raise ConfigurationError(
            f"two functions are task {name!r}: {_where(other)} and {_where(handler)}: "
            "give one of them another name, @task('…')"
        )
    found[name] = handler


def _where(handler: TaskHandler) -> str:
    return f"{getattr(handler, '__module__', '?')}.{getattr(handler, '__qualname__', '?')}"


def _modules(place: str) -> Iterator[ModuleType]:
    path = Path(place)
    if path.is_dir():
        for file in sorted(path.glob("*.py")):
            if not file.name.startswith("_"):
                yield _imported(place, functools.partial(_from_file, file))
    elif place.endswith(".py") or "/" in place:
        if not path.is_file():
            raise ConfigurationError(f"tasks {place!r}: there is no such file: correct the path")
        yield _imported(place, functools.partial(_from_file, path))
    else:
        yield _imported(place, functools.partial(importlib.import_module, place))


def _from_file(path: Path) -> ModuleType:
    name = path.stem
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    known = sys.modules.get(name)
    if known is not None:
        if Path(getattr(known, "__file__", None) or "").resolve() == path.resolve():
            return known  # another module imported it: a second copy would double its tasks
        name = f"kongtask_tasks_{abs(hash(path.resolve()))}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path.name} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _imported(place: str, load: Callable[[], ModuleType]) -> ModuleType:
    try:
        return load()
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # SystemExit in a module is the user's mistake too
        raise ConfigurationError(
            f"tasks {place!r} cannot be imported: {_summary(error)}: correct it, or run from the "
            "folder that holds the module"
        ) from error


def _summary(error: BaseException) -> str:
    """Say what was raised and in which line of the user's code."""
    said = without_passwords(f"{type(error).__name__}: {error}")
    text = said.strip(": ").replace("\n", " ")[:300]
    if isinstance(error, SyntaxError):
        return text
    frames = [
        each
        for each in traceback.extract_tb(error.__traceback__)
        if not each.filename.startswith("<")
        and "importlib" not in each.filename
        and each.filename != __file__
    ]
    return f"{text} ({frames[-1].filename}, line {frames[-1].lineno})" if frames else text
