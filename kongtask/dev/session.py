"""Puts the parts of `kongtask dev` together and sees them through: database, workers, passes, end.

The first signal lets running jobs finish, the second ends them.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from kongtask.clock import Clock
from kongtask.dev.embedded import EmbeddedServer, socket_url
from kongtask.dev.environment import pool_environment
from kongtask.dev.first_jobs import NewJobs, add_first_jobs, read_first_jobs
from kongtask.dev.guarding import Guard
from kongtask.dev.local_cluster import LocalCluster, Parts
from kongtask.dev.pass_loop import PassLoop
from kongtask.dev.project import Project, Reading
from kongtask.dev.telling import Say, add_command, named, timed, warnings_said
from kongtask.dev.worker_process import Recipe, Surroundings, WorkerProcess
from kongtask.errors import KongTaskError
from kongtask.operator.model import Connection, Pool, PoolStatus
from kongtask.operator.postgres_database import PostgresDatabase
from kongtask.operator.reconcile import Reconciler
from kongtask.operator.resources import GRACE
from kongtask.operator.revision import short_hash
from kongtask.postgres.pool import check_dsn
from kongtask.worker.signals import handled_signals
from kongtask.worker_utils import WorkerUtils

WORKER = (sys.executable, "-m", "kongtask", "worker", "--no-migrate")

CUT_OFF = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What `run_dev` was asked for."""

    manifest_path: Path
    database_url: str | None = field(repr=False)
    state_folder: Path
    folder: Path
    environment: Mapping[str, str] = field(repr=False)
    first_jobs: tuple[tuple[str, str], ...] = ()


async def run_session(request: Request, say: Say) -> int:
    """Run until a signal comes; return the exit code."""
    session = Session(request, say)
    body = asyncio.create_task(session.run())

    def first(signal: str) -> None:
        session.leaving(signal)
        body.cancel()

    try:
        with handled_signals(first, lambda _signal: session.cut()):
            await body
    except asyncio.CancelledError:
        if not session.asked_to_end:
            body.cancel()
            await asyncio.gather(body, return_exceptions=True)
            raise
    session.goodbye()
    return CUT_OFF if session.was_cut else 0


class Session:
    """One run of `kongtask dev`."""

    def __init__(self, request: Request, say: Say) -> None:
        self._request = request
        self._clock = Clock()
        self._raw = say
        self._say = self._named("kongtask")
        self._cluster: LocalCluster | None = None
        self._first_jobs: NewJobs = ()
        self._welcomed = False
        self.asked_to_end = False
        self.was_cut = False

    def leaving(self, signal: str) -> None:
        """Note that the end was asked for, and say what it waits for."""
        self.asked_to_end = True
        count = 0 if self._cluster is None else self._cluster.count
        workers = f"{count} worker{'s' if count != 1 else ''}"
        waits = f": {workers} may finish running jobs, {signal} again ends them" if count else ""
        self._say(f"{signal}, stopping{waits}")

    def goodbye(self) -> None:
        """Say that nothing runs any more."""
        self._say("stopped")

    def cut(self) -> None:
        """End the workers without waiting for their jobs."""
        if self._cluster is not None and self._cluster.kill():
            self.was_cut = True

    async def run(self) -> None:
        """Run until cancelled."""
        if self._request.database_url is not None:
            check_dsn(self._request.database_url)
        project = self._project()
        reading = await project.read()
        self._first_jobs = read_first_jobs(self._request.first_jobs, reading.code.tasks)
        self._introduce(reading)
        async with AsyncExitStack() as stack:
            stack.enter_context(warnings_said(self._say))
            guard = await stack.enter_async_context(_guard())
            server = await self._server(stack, guard)
            uri = server.url if server is not None else self._request.database_url or ""
            loop = PassLoop(project, reading, self._say, self._clock)
            await self._work(loop, uri, guard, server)

    def _project(self) -> Project:
        request = self._request
        own = request.state_folder.resolve() / "postgres"
        return Project(
            manifest_path=request.manifest_path,
            folder=request.folder,
            environment=request.environment,
            uri=request.database_url or socket_url(own),
            clock=self._clock,
        )

    def _introduce(self, reading: Reading) -> None:
        pool = reading.pool
        self._say(f"pool {pool.key.name}: {', '.join(reading.code.tasks)}")
        for note in reading.notes:
            self._say(note)

    async def _server(self, stack: AsyncExitStack, guard: Guard) -> EmbeddedServer | None:
        if self._request.database_url is not None:
            return None
        self._say(f"database: starting PostgreSQL in {self._request.state_folder}")
        server = EmbeddedServer(self._request.state_folder, guard, self._clock)
        await stack.enter_async_context(server)
        if server.opened:
            folders = ", ".join(str(each) for each in server.opened)
            self._say(f"database: user {server.user} may now pass through {folders} (chmod o+x)")
        self._say(f"database: PostgreSQL {server.version} at {server.url}")
        return server

    async def _work(
        self, loop: PassLoop, uri: str, guard: Guard, server: EmbeddedServer | None
    ) -> None:
        cluster = self._cluster = self._make_cluster(loop, uri, guard)
        database = PostgresDatabase(self._clock, wake=lambda _: loop.wake())
        reconciler = Reconciler(cluster=cluster, database=database, clock=self._clock)

        async def after(reading: Reading, status: PoolStatus) -> None:
            await self._welcome(reading, status, uri)

        try:
            async with asyncio.TaskGroup() as parts:
                parts.create_task(loop.run(reconciler, after))
                parts.create_task(loop.watch())
                if server is not None:
                    parts.create_task(server.ended())
        except BaseExceptionGroup as group:
            raise _first_error(group) from None
        finally:
            await database.close()
            await cluster.close()

    def _make_cluster(self, loop: PassLoop, uri: str, guard: Guard) -> LocalCluster:
        def changed() -> None:
            cluster.settle()
            loop.wake()

        around = Surroundings(guard=guard, clock=self._clock, changed=changed)
        cluster = LocalCluster(
            Parts(
                connection=Connection(uri=uri, fingerprint=short_hash(uri)),
                hire=partial(self._hire, uri, around),
                migrate=partial(_migrate, uri),
                say=self._named(loop.reading.pool.key.name),
                wake=loop.wake,
                clock=self._clock,
            )
        )
        return cluster

    def _hire(self, uri: str, around: Surroundings, pool: Pool, name: str) -> WorkerProcess:
        environment = pool_environment(pool, uri, self._request.environment)
        recipe = Recipe(
            command=WORKER,
            folder=self._request.folder,
            environment={**environment, "KONGTASK_WORKER_NAME": name},
            drain_timeout=pool.spec.drain_timeout_seconds,
            grace=GRACE,
        )
        relay = named(self._raw, name)
        return WorkerProcess(recipe, around, timed(relay, self._clock), relay=relay)

    async def _welcome(self, reading: Reading, status: PoolStatus, uri: str) -> None:
        """Add the first jobs and tell how to add more, once the schema is there."""
        migrated = status.condition("SchemaMigrated")
        if self._welcomed or migrated is None or migrated.status != "True":
            return
        schema = reading.pool.spec.schema
        if self._first_jobs:
            await add_first_jobs(uri, schema, self._first_jobs, self._say)
        self._welcomed = True
        task, payload = (*self._request.first_jobs, (reading.code.tasks[0], "{}"))[0]
        # What the user gave may hold a password, and is known to the user.
        shown = uri if self._request.database_url is None else "URL"
        here = Path(sys.executable).parent / "kongtask"
        program = "kongtask" if shutil.which("kongtask") else str(here)
        command = add_command(task, payload, shown, schema, program=program)
        self._say(f"add a job from another terminal: {command}")

    def _named(self, name: str) -> Say:
        return timed(named(self._raw, name), self._clock)


@asynccontextmanager
async def _guard() -> AsyncIterator[Guard]:
    guard = Guard()
    await guard.start()
    try:
        yield guard
    finally:
        await guard.close()


async def _migrate(uri: str, schema: str) -> None:
    async with await WorkerUtils.connect(uri, schema) as utils:
        await utils.migrate()


def _first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return what to tell of several failures: one that has a sentence, if there is one."""
    leaves: list[BaseException] = []
    for each in group.exceptions:
        leaves.append(_first_error(each) if isinstance(each, BaseExceptionGroup) else each)
    return next((each for each in leaves if isinstance(each, KongTaskError)), leaves[0])
