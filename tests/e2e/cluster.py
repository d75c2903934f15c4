"""What the tests do to a cluster: kubectl, and a way to ports inside."""

from __future__ import annotations

import asyncio
import inspect
import json
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from socket import create_connection, socket
from typing import Any, TypeVar, overload

SYSTEM = "kongtask-system"
DATABASE = "kongtask-database"
DEMO = "kongtask-demo"

Json = dict[str, Any]
Seen = TypeVar("Seen")


class Refused(AssertionError):
    """kubectl ended with an error; its text is what it said."""


def kubectl(*arguments: str, stdin: str | None = None, timeout: float = 60) -> str:
    """Run kubectl and return what it printed."""
    command = ["kubectl", *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout)
    if done.returncode:
        raise Refused(done.stderr.strip())
    return done.stdout


def apply(*manifests: Json) -> None:
    """Apply manifests, each as a document, since kubectl checks a List in another way."""
    kubectl("apply", "-f", "-", stdin="\n---\n".join(json.dumps(each) for each in manifests))


def found(kind: str, namespace: str, *arguments: str) -> list[Json]:
    """Return the objects of a kind in a namespace."""
    listed = kubectl("get", kind, "-n", namespace, "-o", "json", *arguments)
    items: list[Json] = json.loads(listed)["items"]
    return items


def get(kind: str, namespace: str, name: str) -> Json | None:
    """Return one object, or None when there is none."""
    there = kubectl("get", kind, name, "-n", namespace, "-o", "json", "--ignore-not-found")
    return json.loads(there) if there else None


@overload
async def until(what: str, look: Callable[[], Awaitable[Seen]], timeout: float = 90) -> Seen: ...
@overload
async def until(what: str, look: Callable[[], Seen], timeout: float = 90) -> Seen: ...
async def until(what: str, look: Callable[[], Any], timeout: float = 90) -> Any:
    """Return what `look` returns as soon as it is true; fail when that takes too long."""
    deadline = time.monotonic() + timeout
    while True:
        seen = look()
        if inspect.isawaitable(seen):
            seen = await seen
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout:.0f} s")
        await asyncio.sleep(0.3)


@contextmanager
def last_words(namespace: str, pod: str) -> Iterator[list[str]]:
    """Follow a pod's log; the list has its lines when the block, and with it the pod, has ended."""
    lines: list[str] = []
    command = ["kubectl", "logs", "-f", "-n", namespace, pod]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as following:
        try:
            yield lines
            lines += (following.communicate(timeout=60)[0] or "").splitlines()
        finally:
            following.terminate()


@contextmanager
def forwarded(namespace: str, service: str, port: int) -> Iterator[int]:
    """Make a port of a Service reachable on this machine; yield the port to use here."""
    with closing(socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        here: int = taken.getsockname()[1]
    command = ["kubectl", "port-forward", "-n", namespace, f"service/{service}", f"{here}:{port}"]
    over = threading.Event()
    current: list[subprocess.Popen[bytes]] = []

    def keep() -> None:
        # kubectl ends when one connection breaks badly: then it is started again.
        while not over.is_set():
            quiet = subprocess.DEVNULL
            current[:] = [subprocess.Popen(command, stdout=quiet, stderr=quiet)]
            current[0].wait()
            over.wait(0.5)

    keeper = threading.Thread(target=keep, daemon=True)
    keeper.start()
    try:
        _wait_for_port(here)
        yield here
    finally:
        over.set()
        for process in current:
            process.terminate()
        keeper.join(10)


def _wait_for_port(port: int) -> None:
    pause = threading.Event()
    for _ in range(120):
        try:
            create_connection(("127.0.0.1", port), timeout=2).close()
        except OSError:
            pause.wait(0.25)
        else:
            return
    raise AssertionError(f"nothing answers on forwarded port {port}")
