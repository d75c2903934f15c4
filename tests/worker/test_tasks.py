"""Functions become tasks, and modules, files and folders are searched for them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kongtask import ConfigurationError, task
from kongtask.worker.tasks import check_tasks, load_tasks

ONE = "from kongtask import task\n@task\nasync def {name}(payload, helpers): ...\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that is current and on the module path; what is imported from it is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)


@pytest.mark.parametrize("place", ["places_a", "places_a.py", "./places_a.py"])
def test_a_module_or_its_file_holds_tasks(folder: Path, place: str) -> None:
    write(folder, places_a=ONE.format(name="greet"))
    assert list(load_tasks([place])) == ["greet"]


def test_an_absolute_path_needs_no_module_path(folder: Path, tmp_path_factory: Any) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    write(elsewhere, helper="WORD = 'hi'\n")
    write(elsewhere, far="import helper\n" + ONE.format(name="greet"))
    assert list(load_tasks([str(elsewhere / "far.py")])) == ["greet"]


def test_a_folder_holds_the_tasks_of_its_files_but_for_private_ones(folder: Path) -> None:
    place = folder / "jobs"
    place.mkdir()
    write(place, one=ONE.format(name="one"), two=ONE.format(name="two"), _no="raise SystemError")
    assert sorted(load_tasks(["jobs"])) == ["one", "two"]


def test_files_of_a_folder_may_import_each_other(folder: Path) -> None:
    place = folder / "jobs"
    place.mkdir()
    write(place, a="from b import two\n" + ONE.format(name="one"), b=ONE.format(name="two"))
    assert sorted(load_tasks(["jobs"])) == ["one", "two"]


@pytest.mark.parametrize("places", [["m", "m"], ["m.py", "m.py"], ["m", "m.py"], ["m.py", "m"]])
def test_a_place_that_is_given_twice_counts_once(folder: Path, places: list[str]) -> None:
    write(folder, m=ONE.format(name="greet"))
    assert list(load_tasks(places)) == ["greet"]


def test_a_file_may_be_called_like_a_module_of_python(folder: Path) -> None:
    place = folder / "jobs"
    place.mkdir()
    write(place, json=ONE.format(name="greet"))
    assert list(load_tasks(["jobs/json.py"])) == ["greet"]
    assert sys.modules["json"].__name__ == "json"
    assert hasattr(sys.modules["json"], "dumps")


def test_names_come_from_the_function_unless_one_is_given(folder: Path) -> None:
    write(
        folder,
        m='from kongtask import task\n@task("a:b")\ndef f(p, h): ...\n@task()\ndef g(p, h): ...\n'
        "def plain(p, h): ...\n",
    )
    assert sorted(load_tasks(["m"])) == ["a:b", "g"]


def test_an_alias_is_the_same_task(folder: Path) -> None:
    write(folder, m=ONE.format(name="greet") + "hello = greet\n")
    assert list(load_tasks(["m"])) == ["greet"]


MISTAKES = {
    "no such module": ("nothing_here", "", "cannot be imported: ModuleNotFoundError"),
    "no such file": ("nothing.py", "", "there is no such file"),
    "no such path": ("no/thing", "", "there is no such file"),
    "a syntax error": ("m", "def (:\n", "SyntaxError"),
    "a module that raises": ("m", "\n1 / 0\n", r"ZeroDivisionError: .*m.py, line 2"),
    "a module that exits": ("m", "import sys\nsys.exit('bye')\n", "SystemExit: bye"),
    "an import that fails": ("m", "import nothing_like_it\n", "No module named 'nothing_like_it'"),
    "bytes that are no text": ("m", None, "SyntaxError|UnicodeDecodeError"),
    "NUL bytes": ("m", "x = 1\0", "null bytes"),
    "no task": ("m", "x = 1\n", "holds no task: put @task"),
    "an empty name": ("", "", "a place without a name"),
    "a relative name": (".m", "", "cannot be imported"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_place_without_tasks_is_named_with_the_way_out(folder: Path, mistake: str) -> None:
    place, text, message = MISTAKES[mistake]
    if text is None:
        (folder / "m.py").write_bytes(b"x = '\xff\xfe'\n")
    else:
        write(folder, m=text)
    with pytest.raises(ConfigurationError, match=message) as it:
        load_tasks([place])
    assert repr(place) in str(it.value)
    assert "\n" not in str(it.value)


def test_a_file_that_is_no_python_is_named(folder: Path) -> None:
    (folder / "tasks.txt").write_text("hello")
    with pytest.raises(ConfigurationError, match="is not a Python file"):
        load_tasks(["./tasks.txt"])


def test_two_functions_of_one_name_are_both_named(folder: Path) -> None:
    write(folder, a=ONE.format(name="greet"), b=ONE.format(name="greet"))
    with pytest.raises(ConfigurationError, match=r"task 'greet': a\.greet and b\.greet"):
        load_tasks(["a", "b"])


@pytest.mark.parametrize(
    "tasks, message",
    [({"": print}, "1 to 128"), ({"x" * 129: print}, "1 to 128"), ({"a\0": print}, "1 to 128"),
     ({1: print}, "1 to 128"), ({"a": 1}, "'a' is a int: give a function")],
    ids=["empty", "long", "NUL", "no text", "no function"],
)  # fmt: skip
def test_tasks_that_cannot_work_are_refused(tasks: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        check_tasks(tasks)


def test_a_marked_function_can_still_be_called() -> None:
    @task
    def double(payload: int, helpers: object) -> int:
        return payload * 2

    assert double(2, None) == 4
