"""A Kubernetes API server of one's own: etcd and kube-apiserver as processes, no container.

`KONGTASK_TEST_KUBE_BIN` names the folder of the two programs; without it PATH is searched.
"""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import Any

from kubernetes.client import (
    ApiClient,
    ApiException,
    ApiextensionsV1Api,
    Configuration,
    CustomObjectsApi,
)
from postgres_server import free_port

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "test-token"
START_TIMEOUT = 60


def program(name: str) -> str | None:
    """Return the path of a program, or None."""
    return shutil.which(name, path=os.environ.get("KONGTASK_TEST_KUBE_BIN", os.environ["PATH"]))


def missing_programs() -> list[str]:
    """Return which of the needed programs are not there."""
    return [name for name in ("etcd", "kube-apiserver") if program(name) is None]


@contextmanager
def running(command: list[str], log: Path) -> Iterator[None]:
    """Run a program until the block ends."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_until_answering(url: str, certificate: Path, log: Path) -> None:
    """Return when the URL answers; raises AssertionError with the log's end when it never does."""
    pause = Event()
    for _ in range(START_TIMEOUT * 4):
        with suppress(OSError, urllib.error.URLError):
            trust = ssl.create_default_context(cafile=str(certificate))
            with urllib.request.urlopen(url, timeout=2, context=trust) as answer:
                if answer.status == 200:
                    return
        pause.wait(0.25)
    raise AssertionError(f"{url} never answered:\n{log.read_text()[-3000:]}")


@contextmanager
def control_plane(folder: Path) -> Iterator[ApiClient]:
    """Start an API server with its store; yield a client of its administrator."""
    store = free_port(3)
    peer, port = store + 1, store + 2
    (folder / "tokens.csv").write_text(f'{TOKEN},admin,1,"system:masters"\n')
    key = folder / "service-account.key"
    subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
    etcd = [
        program("etcd") or "", f"--data-dir={folder}/etcd", "--unsafe-no-fsync=true",
        f"--listen-client-urls=http://127.0.0.1:{store}",
        f"--advertise-client-urls=http://127.0.0.1:{store}",
        f"--listen-peer-urls=http://127.0.0.1:{peer}", "--log-level=error",
    ]  # fmt: skip
    server = [
        program("kube-apiserver") or "", f"--etcd-servers=http://127.0.0.1:{store}",
        "--bind-address=127.0.0.1", f"--secure-port={port}", f"--cert-dir={folder}/certificates",
        f"--token-auth-file={folder}/tokens.csv", "--authorization-mode=RBAC",
        f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-cluster-ip-range=10.0.0.0/24", "--disable-admission-plugins=ServiceAccount",
    ]  # fmt: skip
    with running(etcd, folder / "etcd.log"), running(server, folder / "server.log"):
        url, certificate = f"https://127.0.0.1:{port}", folder / "certificates" / "apiserver.crt"
        wait_until_answering(f"{url}/livez", certificate, folder / "server.log")
        yield client_of(url, certificate)


def client_of(url: str, certificate: Path) -> ApiClient:
    """Return a client with every right."""
    settings = Configuration()
    settings.host = url
    settings.ssl_ca_cert = str(certificate)
    settings.api_key = {"authorization": f"Bearer {TOKEN}"}
    return ApiClient(settings)


def define(api: ApiClient, definition: dict[str, Any]) -> None:
    """Create a custom resource definition and return when it is served."""
    ApiextensionsV1Api(api).create_custom_resource_definition(definition)
    spec = definition["spec"]
    place = (spec["group"], spec["versions"][0]["name"], spec["names"]["plural"])
    pause = Event()
    for _ in range(START_TIMEOUT * 10):
        try:
            CustomObjectsApi(api).list_cluster_custom_object(*place)
        except ApiException:
            pause.wait(0.1)
        else:
            return
    raise AssertionError(f"{place} is never served")
