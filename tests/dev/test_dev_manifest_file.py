"""Files that hold a pool, and files that do not."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from dev_process import manifest

from kongtask.dev.manifest_file import read_manifest_file
from kongtask.errors import ConfigurationError

POOL = yaml.safe_dump(manifest())
SECRET = "kind: Secret\nmetadata: {name: database}\n"


def test_the_one_pool_among_other_documents_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "pool.yaml"
    file.write_text(f"{SECRET}---\n---\n{POOL}---\nkind: Namespace\n")
    found = read_manifest_file(file)
    assert found.pool.key.name == "mail"
    assert found.ignored == ("Secret database", "Namespace None")


@pytest.mark.parametrize(
    "text, sentence",
    [
        pytest.param("", "holds no KongTaskPool but nothing: write apiVersion:", id="empty"),
        pytest.param(SECRET, "holds no KongTaskPool but Secret", id="another kind"),
        pytest.param("- a\n", "holds a list where a manifest should be", id="a list"),
        pytest.param("kind: a: b", "pool.yaml, line 1, column 8: mapping values", id="bad YAML"),
        pytest.param("a: \x00", "pool.yaml is not YAML: ", id="a control character"),
        pytest.param(f"{POOL}---\n{POOL}", "holds 2 pools (mail, mail): keep one", id="two pools"),
        pytest.param(POOL.replace("v1alpha1", "v9"), "a kongtask.dev/v9 KongTaskPool: write",
                     id="another version"),
        pytest.param(POOL.replace("name: mail", "name: 7"), "must be a text, got 7", id="a number"),
        pytest.param("kind: KongTaskPool\nmetadata: x", "metadata.name must be a text, got None",
                     id="no name"),
        pytest.param(POOL.replace("concurrency: 2", "concurrency: 0"),
                     "spec.concurrency in body should be greater than or equal to 1",
                     id="a rule of the API server's"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_a_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "pool.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        read_manifest_file(file)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "pool.yaml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="is not a text file"):
        read_manifest_file(file)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        read_manifest_file(tmp_path)
