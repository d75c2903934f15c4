"""An API server for the tests that need one."""

from __future__ import annotations

from collections.abc import Iterator

import control_plane
import pytest
import yaml
from control_plane import ROOT
from kubernetes import client


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[client.ApiClient]:
    """An API server that knows the pool's definition."""
    missing = control_plane.missing_programs()
    if missing:
        pytest.skip(
            f"{' and '.join(missing)} not found: set KONGTASK_TEST_KUBE_BIN to their folder"
        )
    with control_plane.control_plane(tmp_path_factory.mktemp("control-plane")) as there:
        definition = yaml.safe_load((ROOT / "crds" / "kongtaskpool.yaml").read_text())
        control_plane.define(there, definition)
        yield there
