"""The code of the tasks: whether it imports, what belongs to it, when it changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kongtask.dev.code import check_code
from kongtask.errors import ConfigurationError

TASK = "from kongtask import task\n@task\ndef greet(payload, helpers): ...\n"


async def test_tasks_and_the_files_of_the_folder_are_found(tmp_path: Path) -> None:
    (tmp_path / "words.py").write_text("HELLO = 'hello'\n")
    (tmp_path / "tasks.py").write_text(f"import words\nprint('a word on stdout')\n{TASK}")
    found = await check_code(["tasks"], tmp_path, os.environ)
    assert found.tasks == ("greet",)
    assert [each.name for each in found.files] == ["tasks.py", "words.py"]


async def test_the_fingerprint_follows_the_content(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(TASK)
    found = await check_code(["tasks"], tmp_path, os.environ)
    before = found.fingerprint()
    os.utime(tmp_path / "tasks.py", (1, 1))
    assert found.fingerprint() == before
    (tmp_path / "tasks.py").write_text(TASK + "#\n")
    assert found.fingerprint() != before


async def test_modules_see_the_environment(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(f"import os\nassert os.environ['KEY'] == 'k'\n{TASK}")
    found = await check_code(["tasks"], tmp_path, {**os.environ, "KEY": "k"})
    assert found.tasks == ("greet",)


@pytest.mark.parametrize(
    "text, sentence",
    [
        pytest.param("import nothing_there\n", "No module named 'nothing_there' (", id="import"),
        pytest.param("x = 1\ny = x.z\n", "tasks.py, line 2)", id="the line"),
        pytest.param("def a(:\n", "SyntaxError: ", id="syntax"),
        pytest.param("raise SystemExit(0)\n", "SystemExit", id="a module that exits"),
        pytest.param("import os\nos._exit(0)\n", "importing tasks ended the process", id="gone"),
        pytest.param("x = 1\n", "holds no task", id="no task"),
    ],
)
async def test_a_module_that_does_not_import_gives_a_sentence(
    tmp_path: Path, text: str, sentence: str
) -> None:
    (tmp_path / "tasks.py").write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        await check_code(["tasks"], tmp_path, os.environ)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_pool_without_modules_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"spec\.tasks\.modules is empty"):
        await check_code([], tmp_path, os.environ)
