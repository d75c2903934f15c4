"""PgBouncer in transaction mode, before a server."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from durable_server import DATABASE, DurableServer
from postgres_server import (
    PASSWORD,
    PATIENCE,
    USER,
    free_port,
    hand_over,
    new_folder,
    unprivileged,
)
from waiting import wait_until

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")

NEEDS_PGBOUNCER = pytest.mark.skipif(
    PROGRAM is None, reason="pgbouncer is not installed (apt-get install pgbouncer)"
)

SETTINGS = """
[databases]
* = host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = plain
auth_file = {users}
pool_mode = {mode}
default_pool_size = {size}
server_round_robin = {in_turns:d}
max_client_conn = 200
query_wait_timeout = 10
server_login_retry = 1
server_connect_timeout = 5
logfile = {log}
"""


@contextmanager
def pooler(
    server: DurableServer, *, mode: str = "transaction", size: int = 4, in_turns: bool = False
) -> Iterator[str]:
    """Yield the URL of the database through the pooler.

    It uses the session that was used last, or each of them `in_turns`.
    """
    folder, port = new_folder("kongtask-fault-"), free_port()
    users, settings = folder / "users", folder / "settings"
    users.write_text(f'"{USER}" "{PASSWORD}"\n')
    settings.write_text(
        SETTINGS.format(
            server=server.port, port=port, users=users, log=folder / "log",
            mode=mode, size=size, in_turns=in_turns,
        )
    )  # fmt: skip
    hand_over(folder, *folder.iterdir())  # it refuses to run as root
    assert PROGRAM is not None
    process = subprocess.Popen(
        [PROGRAM, "-q", str(settings)], **unprivileged(),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _await(port)
        yield server.url(DATABASE, port)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


def _await(port: int) -> None:
    with socket.socket() as plug:
        wait_until(lambda: plug.connect_ex(("127.0.0.1", port)) == 0, PATIENCE)
