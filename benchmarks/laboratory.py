"""Databases filled once and copied for each run, runners on them, and the meters on PostgreSQL."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg

from benchmarks.environments import CACHE, ROOT, Environments
from benchmarks.participants import PARTICIPANTS, Family, Participant
from benchmarks.running import RunFailed, Runner

PREPARING = 900.0
"""Seconds that making and filling tables may take."""

POLL = 0.002
"""Seconds between two looks whether jobs are left, once the runner has counted them all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """What a database holds when a run begins."""

    jobs: int = 0
    queues: int = 0
    future: int = 0


@dataclass(slots=True)
class Meter:
    """What PostgreSQL has written and committed between `start` and `stop`."""

    database: str
    admin: psycopg.Connection[Any]
    _wal: int = 0
    _commits: int = 0

    def start(self) -> None:
        """Begin."""
        self._wal, self._commits = self._read()

    def stop(self, own_commits: int = 0) -> tuple[int, int]:
        """Return bytes of WAL and transactions, without those of the harness."""
        wal, commits = self._read()
        return wal - self._wal, commits - self._commits - own_commits

    def _read(self) -> tuple[int, int]:
        row = self.admin.execute(
            "select pg_current_wal_lsn() - '0/0'::pg_lsn, xact_commit "
            "from pg_stat_database where datname = %s",
            [self.database],
        ).fetchone()
        assert row is not None
        return int(row[0]), int(row[1])


@dataclass(slots=True)
class Observer:
    """Looks into a participant's database."""

    connection: psycopg.Connection[Any]
    queries: int = 0

    def ask(self, statement: str) -> Any:
        """Return the first column of the first row, or None."""
        self.queries += 1
        row = self.connection.execute(statement).fetchone()
        return None if row is None else row[0]

    def wait_until_gone(self, pending: str, patience: float, poll: float = POLL) -> float:
        """Return when the statement yielded no row; raises `RunFailed`."""
        deadline = time.monotonic() + patience
        while self.ask(pending) is not None:
            if time.monotonic() > deadline:
                raise RunFailed(f"jobs were left after {patience:.0f} s")
            time.sleep(poll)
        return time.monotonic()

    def flush_statistics(self) -> None:
        """Have this session's own transactions counted now."""
        if self.connection.info.server_version >= 150000:
            self.ask("select pg_stat_force_next_flush()::text")
            self.ask("select 1")


@dataclass(slots=True)
class Laboratory:
    """Everything that a workload needs to measure a participant."""

    server_url: str
    environments: Environments
    admin: psycopg.Connection[Any]
    log: Path = CACHE / "runners.log"
    _templates: dict[tuple[str, Fill], str] = field(default_factory=dict)
    _count: int = 0

    @contextmanager
    def database(self, participant: Participant, fill: Fill) -> Iterator[str]:
        """Yield the URL of a copy of the participant's tables, filled, vacuumed and analysed."""
        template = self._template(participant.home, fill)
        name = self._name()
        self.admin.execute(f"create database {name} template {template} strategy file_copy")
        self.admin.execute("checkpoint")
        try:
            yield self.url(name)
        finally:
            self.admin.execute(f"drop database {name} with (force)")

    def start(self, participant: Participant, dsn: str, role: str, **order: Any) -> Runner:
        """Start a participant's runner."""
        order = {"concurrency": participant.concurrency, **order}
        words = self.environments.command(participant)
        return self._start(
            words, participant, {"settings": participant.settings, **order}, dsn, role
        )

    def start_adding(self, participant: Participant, dsn: str, **order: Any) -> Runner:
        """Start what adds jobs steadily: the same for all on Graphile's tables, else the peer's.

        On uvloop: it shares the machine with whom it serves, and takes as little of it as can be.
        """
        if participant.adds or participant.home.filler is None:
            return self.start(participant, dsn, "produce", **order)
        words = self.environments.script("kongtask", participant.home.filler)
        lean = PARTICIPANTS["raw-uvloop"]
        return self._start(words, lean, {"settings": lean.settings, **order}, dsn, "produce")

    def start_command(self, words: list[str], participant: Participant, folder: Path) -> Runner:
        """Start a participant's own command line."""
        return Runner(words, self.environments.variables(participant), folder, self.log)

    @contextmanager
    def observer(self, dsn: str) -> Iterator[Observer]:
        """Yield a look into a database."""
        with psycopg.connect(dsn, autocommit=True) as connection:
            yield Observer(connection)

    @contextmanager
    def without_autovacuum(self) -> Iterator[None]:
        """Keep autovacuum away: its visits to a database count as that database's transactions."""
        try:
            self.admin.execute("alter system set autovacuum = off")
            self.admin.execute("select pg_reload_conf()")
            yield
        finally:
            self.admin.execute("alter system reset autovacuum")
            self.admin.execute("select pg_reload_conf()")

    def meter(self, dsn: str) -> Meter:
        """Return a meter on a database."""
        return Meter(urlsplit(dsn).path[1:], self.admin)

    def url(self, database: str) -> str:
        """Return the URL of a database on the server."""
        return urlunsplit(urlsplit(self.server_url)._replace(path=f"/{database}"))

    def forget(self) -> None:
        """Drop the databases that were copied from, but for the empty ones."""
        for (family, fill), name in list(self._templates.items()):
            if fill != Fill():
                self.admin.execute(f"drop database {name} with (force)")
                del self._templates[family, fill]

    def _template(self, family: Family, fill: Fill) -> str:
        key = (family.name, fill)
        if key not in self._templates:
            name = self._name()
            if fill == Fill():
                self.admin.execute(f"create database {name}")
                self._prepare(family.script, family, self.url(name), "migrate", fill)
            else:
                empty = self._template(family, Fill())
                self.admin.execute(f"create database {name} template {empty} strategy file_copy")
                self._prepare(family.filler or family.script, family, self.url(name), "fill", fill)
                with psycopg.connect(self.url(name), autocommit=True) as connection:
                    connection.execute("vacuum (analyze)")
            self._templates[key] = name
        return self._templates[key]

    def _prepare(self, script: str, family: Family, dsn: str, role: str, fill: Fill) -> None:
        """Make or fill tables. The tables of Graphile's kind are filled by the same SQL."""
        environment = "kongtask" if script == "run_raw.py" else family.environment
        words = self.environments.script(environment, script)
        whose = replace(PARTICIPANTS["raw"], family=replace(family, environment=environment))
        with self._start(words, whose, asdict(fill), dsn, role) as runner:
            runner.expect("done", PREPARING)

    def _start(
        self, words: list[str], participant: Participant, order: dict[str, Any], dsn: str, role: str
    ) -> Runner:
        text = json.dumps({"role": role, "dsn": dsn, **order})
        variables = self.environments.variables(participant)
        return Runner([*words, text], variables, ROOT, self.log)

    def _name(self) -> str:
        self._count += 1
        return f"benchmark_{self._count}"


@contextmanager
def laboratory(server_url: str) -> Iterator[Laboratory]:
    """Yield a laboratory on a server."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with psycopg.connect(server_url, autocommit=True) as admin:
        made = Laboratory(server_url, Environments(), admin)
        made.log.write_bytes(b"")
        yield made
