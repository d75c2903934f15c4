"""Several worker processes by one command: real children, real signals, a real terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path

import asyncpg
import pytest
from cli_process import PATIENCE, Program, environment, kongtask, running
from postgres_server import free_port, run

from kongtask import ConfigurationError, WorkerUtils
from kongtask.settings import worker_settings

TWO = ("worker", "--processes", "2")
POOLS = "select count(*) from graphile_worker._kongtask_pools"
JOBS = "select count(*) from graphile_worker._private_jobs"
LOCKED = f"{JOBS} where locked_by is not null"


async def _value(url: str, query: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval(query))
    finally:
        await connection.close()


def value(url: str, query: str) -> int:
    return run(_value(url, query))


def add(url: str, task: str, count: int = 1) -> None:
    async def added() -> None:
        connection = await asyncpg.connect(url)
        try:
            jobs = [(task, {"name": "ann"}, None)] * count
            await WorkerUtils(connection).add_jobs(jobs)
        finally:
            await connection.close()

    run(added())


def await_value(url: str, query: str, wanted: int) -> None:
    await_true(lambda: value(url, query) == wanted, f"{query} to be {wanted}")


def await_true(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain for {what}")


def children(program: Program, count: int = 2) -> list[int]:
    """The process ids of the children, by number, once there are so many."""
    return [int(program.until(f"process {number} is ([0-9]+)")[1]) for number in range(count)]


def is_alive(pid: int) -> bool:
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


@contextmanager
def two(folder: Path, url: str, *flags: str, **variables: str) -> Iterator[Program]:
    """Two processes at work; none of them outlives the block."""
    with ExitStack() as stack:
        program = stack.enter_context(running(folder, *TWO, *flags, DATABASE_URL=url, **variables))
        for pid in children(program):
            stack.callback(kill, pid)
        await_value(url, POOLS, 2)
        yield program


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def test_once_migrates_and_ends_when_all_have_ended(folder: Path, empty_database_url: str) -> None:
    url = empty_database_url
    assert kongtask(folder, "migrate", DATABASE_URL=url).code == 0
    add(url, "greet", 20)
    ran = kongtask(folder, "worker", "--once", DATABASE_URL=url, KONGTASK_PROCESSES="3")
    assert (ran.code, ran.out) == (0, "hello ann\n" * 20)
    assert "3 processes\n" in ran.err
    assert ran.err.count("working on ") == ran.err.count(" stopped\n") == 3
    assert [value(url, each) for each in (JOBS, POOLS)] == [0, 0]


def test_the_schema_is_migrated_before_the_first_child(
    folder: Path, empty_database_url: str
) -> None:
    ran = kongtask(folder, *TWO, "--once", DATABASE_URL=empty_database_url)
    assert ran.code == 0
    assert value(empty_database_url, JOBS) == 0


def test_a_signal_drains_all(folder: Path, database_url: str) -> None:
    add(database_url, "hold")
    with two(folder, database_url) as program:
        program.until("holding$")
        program.signal(signal.SIGTERM)
        program.until("SIGTERM: the processes drain")
        await_value(database_url, POOLS, 1)
        assert value(database_url, LOCKED) == 1
        (folder / "go").touch()
        assert program.exit_code() == 0
        assert "again" not in program.text
    assert [value(database_url, each) for each in (JOBS, POOLS)] == [0, 0]


@pytest.mark.parametrize("which, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_signal_cuts_short(
    folder: Path, database_url: str, which: signal.Signals, code: int
) -> None:
    add(database_url, "hold")
    with two(folder, database_url) as program:
        program.until("holding$")
        program.signal(which)
        program.until("(?s)draining: .*draining: ")  # two signals at once count as one
        await_true(lambda: sum(map(is_alive, children(program))) == 1, "the idle one's end")
        program.signal(which)
        assert program.exit_code() == code
        program.until(f"cut off and given back: hold .job .*; a second {which.name} came")
        assert "Traceback" not in program.text
    assert [value(database_url, each) for each in (JOBS, LOCKED, POOLS)] == [1, 0, 0]


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_start_ends_all_cleanly(
    folder: Path, database_url: str, which: signal.Signals
) -> None:
    with running(folder, *TWO, DATABASE_URL=database_url) as program:
        children(program)
        program.signal(which)
        assert program.exit_code() == 0
        assert "Traceback" not in program.text
    assert value(database_url, POOLS) == 0


def test_the_worst_exit_code_counts(folder: Path, database_url: str) -> None:
    add(database_url, "hold")
    with two(folder, database_url, "--drain-timeout", "0") as program:
        program.until("holding$")
        program.signal(signal.SIGTERM)
        assert program.exit_code() == 1


def test_ctrl_c_in_a_terminal_counts_once(folder: Path, database_url: str) -> None:
    """It reaches the whole foreground process group; twice would cut the job off."""
    add(database_url, "hold")
    terminal = Terminal(folder, *TWO, "-c", database_url)
    try:
        terminal.until("holding")
        terminal.until("(?s)working on .*working on ")
        terminal.type(b"\x03")
        terminal.until("SIGINT: the processes drain")
        await_value(database_url, POOLS, 1)
        assert value(database_url, LOCKED) == 1
        (folder / "go").touch()
        terminal.until("completed hold")
        assert terminal.exit_code() == 0
    finally:
        terminal.close()
    assert [value(database_url, each) for each in (JOBS, POOLS)] == [0, 0]


def test_a_child_that_dies_is_started_again(folder: Path, database_url: str) -> None:
    with two(folder, database_url, "--recovery-timeout", "1") as program:
        pid = children(program)[1]
        kill(pid)
        program.until("WARNING process 1 was killed by SIGKILL: it is started again in 1 s")
        again = int(program.until(rf"(?s)process 1 is {pid}\n.*process 1 is ([0-9]+)")[1])
        program.until("(?s)working on .*working on .*working on ")
        kill(again)
        program.until("process 1 was killed by SIGKILL: it is started again in 2 s")
        program.signal(signal.SIGTERM)
        assert program.exit_code() == 0


def test_children_drain_when_the_parent_is_killed(folder: Path, database_url: str) -> None:
    with two(folder, database_url) as program:
        pids = children(program)
        program.signal(signal.SIGKILL)
        await_true(lambda: not any(map(is_alive, pids)), "the children's end")
        assert program.text.count("draining: SIGTERM") == 2
    assert value(database_url, POOLS) == 0


def test_each_child_has_a_name_and_a_health_port(folder: Path, database_url: str) -> None:
    port = free_port(2)
    flags = ("--health-port", str(port))
    with two(folder, database_url, *flags, KONGTASK_WORKER_NAME="mail") as program:
        for number in range(2):
            program.until(f"health on port {port + number}:")
            connection = HTTPConnection("127.0.0.1", port + number, timeout=5)
            connection.request("GET", "/livez")
            assert connection.getresponse().status == 200
            connection.close()
            name = f"'pool-mail-{number}-%'"
            assert value(database_url, f"{POOLS} where pool_id like {name}") == 1


def test_a_mistake_that_each_child_makes_ends_all(folder: Path, database_url: str) -> None:
    ran = kongtask(folder, *TWO, "-t", "nowhere", DATABASE_URL=database_url)
    assert ran.code == 2
    assert "nowhere" in ran.err
    assert "again" not in ran.err + ran.out
    assert "Traceback" not in ran.err


def test_a_mistake_that_is_seen_at_once_is_told_once(folder: Path, database_url: str) -> None:
    (folder / "tasks.py").unlink()
    ran = kongtask(folder, *TWO, DATABASE_URL=database_url)
    assert (ran.code, ran.err.count("kongtask: no tasks: ")) == (2, 1)
    ran = kongtask(folder, *TWO, "-t", "x", "--health-port", "65535", DATABASE_URL=database_url)
    assert ran.code == 2
    assert "2 processes serve on as many ports from there on, choose one up to 65534" in ran.err


@pytest.mark.parametrize("given", ["0", "65", "two"])
def test_how_many_is_checked(given: str) -> None:
    words = {"DATABASE_URL": "postgres://db/shop", "KONGTASK_PROCESSES": given}
    with pytest.raises(ConfigurationError, match=r"KONGTASK_PROCESSES is .* from 1 to 64"):
        worker_settings(words, {})


LOOP = """
import asyncio
from kongtask import task
@task
async def tell(payload, helpers):
    print(type(asyncio.get_running_loop()).__module__)
"""


@pytest.mark.parametrize(
    "given, module", [("", "uvloop"), ("1", "uvloop"), ("0", "asyncio.unix_events")]
)
def test_the_worker_runs_on_uvloop_unless_told_not_to(
    folder: Path, database_url: str, given: str, module: str
) -> None:
    (folder / "loop.py").write_text(LOOP)
    add(database_url, "tell")
    flags = ("worker", "--once", "-t", "loop.py")
    ran = kongtask(folder, *flags, DATABASE_URL=database_url, KONGTASK_UVLOOP=given)
    assert (ran.code, ran.out) == (0, f"{module}\n")


class Terminal:
    """A `kongtask` in the foreground of a terminal of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._master, slave = pty.openpty()
        os.set_blocking(self._master, False)
        self._said = ""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "kongtask", *arguments],
            cwd=folder, env=environment(folder), stdin=slave, stdout=slave, stderr=slave,
            start_new_session=True, preexec_fn=_in_foreground,
        )  # fmt: skip
        os.close(slave)

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def until(self, pattern: str) -> None:
        await_true(lambda: re.search(pattern, self._read()) is not None, pattern)

    def exit_code(self) -> int:
        await_true(lambda: bool(self._read()) and self._process.poll() is not None, "its end")
        assert self._process.returncode is not None
        return self._process.returncode

    def close(self) -> None:
        for number in re.findall("process [0-9]+ is ([0-9]+)", self._read()):
            kill(int(number))
        self._process.kill()
        self._process.wait()
        os.close(self._master)

    def _read(self) -> str:
        with suppress(OSError):  # nothing there, or nobody writes any more
            self._said += os.read(self._master, 65_536).decode()
        return self._said


def _in_foreground() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
