"""A user's mistake costs one sentence that names what, where and the way out: never a traceback."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
from cli_process import Ran, kongtask, running
from postgres_server import run

PASSWORD = "s3cret-w0rd"

LOGIN = f"postgres://u:{PASSWORD}"
CONNECTIONS = {
    "no scheme": ("localhost/shop", "begins with no scheme: write it as postgres://"),
    "another scheme": (f"mysql://u:{PASSWORD}@h/db", "begins with mysql://: write it as"),
    "a bad port": (f"{LOGIN}@h:70000/db", "is not a URL: write it as postgres://"),
    "a port of letters": (f"{LOGIN}@h:abc/db", "is not a URL: write it as postgres://"),
    "nobody there": (f"{LOGIN}@127.0.0.1:1/db", "u@127.0.0.1:1/db: cannot reach PostgreSQL"),
    "no such host": (f"{LOGIN}@no.such.host.invalid/db", "cannot reach PostgreSQL"),
    "a bad parameter": (f"{LOGIN}@127.0.0.1:1/db?sslmode=perhaps", "check each of its parts"),
    "a bad bracket": (f"{LOGIN}@[::1/db", "is not a URL: write it as postgres://"),
    "a blank": (" ", "the connection string is empty"),
}


def sentence(ran: Ran) -> str:
    """The one thing that was said."""
    assert ran.code == 2, (ran.out, ran.err)
    assert "Traceback" not in ran.err
    assert PASSWORD not in ran.err + ran.out
    said = [line for line in ran.err.splitlines() if line.startswith("kongtask: ")]
    assert len(said) == 1, ran.err
    return said[0]


def together(folder: Path, *commands: tuple[str, ...], **variables: str) -> list[Ran]:
    """Run commands side by side."""
    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(lambda each: kongtask(folder, *each, **variables), commands))


def test_a_connection_string_that_cannot_work(folder: Path) -> None:
    commands = [("migrate", "-c", url) for url, _ in CONNECTIONS.values()]
    rans = together(folder, *commands)
    for ran, (_, text) in zip(rans, CONNECTIONS.values(), strict=True):
        assert text in sentence(ran)


def test_no_connection_string(folder: Path) -> None:
    for ran in together(
        folder, ("worker",), ("migrate",), ("add", "greet"), ("add", "x", "-c", "")
    ):
        assert "no database: give -c postgres://" in sentence(ran)


def test_a_server_that_refuses(folder: Path, server_url: str) -> None:
    parts = urlsplit(server_url)
    place = f"{parts.hostname}:{parts.port}"
    wrong = f"postgres://kongtask:{PASSWORD}@{place}/postgres"
    missing = server_url.replace("/postgres", "/no_such_database")
    for ran, text in zip(
        together(folder, ("migrate", "-c", wrong), ("add", "greet", "-c", wrong),
                 ("migrate", "-c", missing), ("worker", "-c", missing)),
        [f"kongtask@{place}/postgres: the server refused the password"] * 2
        + [f"kongtask@{place}/no_such_database: the database does not exist"] * 2,
        strict=True,
    ):  # fmt: skip
        assert text in sentence(ran)
        assert "open-sesame" not in ran.err


async def prepare(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for each in statements:
            await connection.execute(each)
    finally:
        await connection.close()


def test_a_schema_that_is_missing(folder: Path, empty_database_url: str) -> None:
    for ran in together(
        folder, ("worker", "--no-migrate"), ("add", "greet"), DATABASE_URL=empty_database_url
    ):
        assert "kongtask migrate" in sentence(ran)


def test_a_schema_of_a_newer_version(folder: Path, database_url: str) -> None:
    newer = "insert into graphile_worker.migrations (id, breaking) values (99, true)"
    run(prepare(database_url, newer))
    for ran in together(
        folder, ("worker",), ("migrate",), ("worker", "--no-migrate"), DATABASE_URL=database_url
    ):
        assert "level 99" in sentence(ran)
        assert "upgrade KongTask" in ran.err


def test_a_schema_of_another_tool(folder: Path, empty_database_url: str) -> None:
    run(prepare(empty_database_url, "create table public.jobs (id int)"))
    for ran in together(
        folder, ("worker", "-s", "public"), ("migrate", "-s", "public"),
        DATABASE_URL=empty_database_url,
    ):  # fmt: skip
        assert 'schema "public" has a table "jobs"' in sentence(ran)


def test_a_schema_name_that_is_too_long(folder: Path, database_url: str) -> None:
    ran = kongtask(folder, "migrate", "-s", "x" * 64, DATABASE_URL=database_url)
    assert "schema must have 1 to 63 bytes" in sentence(ran)


CRONTABS = {
    "a bad line": (b"# nightly\n0 4 * * * greet\n61 * * * * greet\n", "line 3"),
    "a task that cannot be": (b"* * * * *\n", "line 1"),
    "not UTF-8": (b"0 4 * * * greet # caf\xe9\n", "is not UTF-8 text: save it as UTF-8"),
}


def test_a_crontab_that_cannot_be_used(folder: Path) -> None:
    names = [f"{number}.crontab" for number, _ in enumerate(CRONTABS)]
    for name, (text, _) in zip(names, CRONTABS.values(), strict=True):
        (folder / name).write_bytes(text)
    commands = [("worker", "--crontab", name) for name in [*names, "none.crontab", "."]]
    expected = [pattern for _, pattern in CRONTABS.values()]
    expected += ["crontab none.crontab cannot be read", "crontab . cannot be read"]
    rans = together(folder, *commands, DATABASE_URL="postgres://127.0.0.1:1/db")
    for ran, pattern in zip(rans, expected, strict=True):
        assert pattern in sentence(ran)
    for ran, name in zip(rans, names, strict=False):
        assert name in ran.err
    assert "61 * * * * greet" in rans[0].err


MODULES = {
    "does not exist": (None, "nothing", "No module named 'nothing'"),
    "is a missing file": (None, "nothing.py", "there is no such file"),
    "does not import": ("import nothing_like_it", "m", "No module named 'nothing_like_it'"),
    "has a syntax error": ("def (:", "m.py", "SyntaxError"),
    "holds no task": ("x = 1", "m", "holds no task: put @task"),
}


def test_tasks_that_cannot_be_found(folder: Path) -> None:
    commands, expected = [], []
    for number, (text, place, pattern) in enumerate(MODULES.values()):
        name = place.replace("m", f"m{number}", 1) if text else place
        if text:
            (folder / f"m{number}.py").write_text(text)
        commands.append(("worker", "-t", name))
        expected.append((name, pattern))
    (folder / "double.py").write_text(
        "from kongtask import task\n@task('greet')\ndef f(p, h): ...\n"
    )
    commands.append(("worker", "-t", "tasks", "-t", "double"))
    expected.append(("tasks.greet and double.f", "two functions are task 'greet'"))
    rans = together(folder, *commands, DATABASE_URL="postgres://127.0.0.1:1/db")
    for ran, (place, pattern) in zip(rans, expected, strict=True):
        assert pattern in sentence(ran)
        assert place in ran.err


def test_no_tasks_at_all(tmp_path: Path) -> None:
    ran = kongtask(tmp_path, "worker", DATABASE_URL="postgres://127.0.0.1:1/db")
    assert "no tasks: give -t MODULE_OR_PATH or set KONGTASK_TASKS" in sentence(ran)


def test_numbers_that_cannot_work(folder: Path) -> None:
    for ran, text in zip(
        together(folder, ("worker", "-j", "0"), ("worker", "--health-port", "99999"),
                 ("worker", "--drain-timeout", "-1"), ("worker", "--poll-interval", "0"),
                 DATABASE_URL="postgres://127.0.0.1:1/db"),
        ["--jobs is '0': write a whole number from 1 to 10000", "--health-port is '99999'",
         "--drain-timeout is '-1'", "--poll-interval is '0'"],
        strict=True,
    ):  # fmt: skip
        assert text in sentence(ran)


def test_variables_that_cannot_work(folder: Path) -> None:
    ran = kongtask(folder, "worker", DATABASE_URL="postgres://h/db", KONGTASK_CONCURRENCY="many")
    assert "KONGTASK_CONCURRENCY is 'many': write a whole number" in sentence(ran)


def test_an_option_that_there_is_not(folder: Path) -> None:
    for ran in together(
        folder, ("worker", "--jobz", "1"), ("worker", "-j", "x"), ("wrok",), ("add",)
    ):
        assert ran.code == 2
        assert "Error: " in ran.err
        assert "Traceback" not in ran.err


def test_a_port_in_use_runs_no_job(folder: Path, database_url: str) -> None:
    kongtask(folder, "add", "greet", '{"name": "ann"}', DATABASE_URL=database_url)
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        ran = kongtask(folder, "worker", "--health-port", str(port), DATABASE_URL=database_url)
    assert f"health port {port} cannot be opened (Address already in use)" in sentence(ran)
    assert "hello" not in ran.out


PAYLOADS = ["{", "", "{'a': 1}", "NaN", "[Infinity]", "{} trailing", "hello", "[" * 10_000]


def test_a_payload_that_is_not_json(folder: Path, database_url: str) -> None:
    commands = [("add", "greet", payload) for payload in PAYLOADS]
    for ran in together(folder, *commands, DATABASE_URL=database_url):
        assert "payload is not JSON" in sentence(ran)
        assert """write it for the shell as '{"key": "value"}'""" in ran.err
        assert len(ran.err) < 400


def test_a_job_that_cannot_be_added(folder: Path, database_url: str) -> None:
    register = "insert into graphile_worker._private_tasks (identifier) values ('send_email')"
    run(prepare(database_url, register))
    cases = {
        ("add", "send_emial"): "did you mean send_email? Add it all the same with --force",
        ("add", "slow"): "known are send_email: add it all the same with --force",
        ("add", "x" * 129, "--force"): "GWBID: task must have 1 to 128 characters, got 129",
        ("add", "", "--force"): "task must be a non-empty string",
        ("add", "send_email", "--queue", "q" * 129): "GWBQN",
        ("add", "send_email", "--key", ""): "GWBJK: job_key must have 1 to 512 characters",
        ("add", "send_email", "--max-attempts", "0"): "GWBMA: max_attempts must be between 1",
        ("add", "send_email", "--priority", "40000"): "priority must be between -32768 and 32767",
        ("add", "send_email", "--key", "k", "--key-mode", "merge"): "GWBKM: job_key_mode must be",
    }
    for ran, text in zip(
        together(folder, *cases, DATABASE_URL=database_url), cases.values(), strict=True
    ):
        assert text in sentence(ran)


INTERRUPTED = """
from kongtask import cli
def interrupted(words):
    raise KeyboardInterrupt
cli._load = interrupted
"""


def test_ctrl_c_before_a_command_is_loaded_says_nothing(folder: Path) -> None:
    with running(folder, "bench", prelude=INTERRUPTED) as program:
        assert program.exit_code() == 130
        assert program.text == ""
