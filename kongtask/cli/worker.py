"""The command that runs jobs."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping
from contextlib import ExitStack, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from kongtask.cli import complain
from kongtask.cli.first_contact import first_contact
from kongtask.cli.options import database_options, log_options
from kongtask.cli.traces import configure_tracing
from kongtask.clock import Clock
from kongtask.errors import ConfigurationError, ShutdownTimeout
from kongtask.log_lines import log_to_stderr
from kongtask.logger import StandardLogger
from kongtask.postgres.migrations import run_migrations
from kongtask.postgres.pool import close_pool, describe, open_pool
from kongtask.settings import WorkerSettings, worker_settings
from kongtask.worker.event_bus import EventBus
from kongtask.worker.job_log import log_jobs
from kongtask.worker.options import WorkerPoolOptions
from kongtask.worker.pool import WorkerPool
from kongtask.worker.signals import ended_by_sigterm
from kongtask.worker.tasks import TaskHandler, load_tasks

if TYPE_CHECKING:
    import asyncpg

    from kongtask.core.cron.item import ParsedCronItem

CUT_OFF = 1


@click.command()
@database_options
@click.option("-j", "--jobs", type=int, help="Jobs that run at the same time. [default: 1]")
@click.option(
    "--processes", type=int, metavar="N",
    help="Run N such workers, each a process with -j jobs at a time, and look after them. One that "
    "dies is started again. [default: 1]",
)  # fmt: skip
@click.option(
    "-t", "--tasks", multiple=True, metavar="MODULE_OR_PATH",
    help="Module, file or folder with functions under @task; may be given more than once. "
    "[default: tasks.py or tasks/]",
)  # fmt: skip
@click.option("--once", is_flag=True, help="End when no job is left that could run now.")
@click.option(
    "--crontab",
    type=click.Path(path_type=Path),
    help="File of recurring jobs to add while running.",
)
@click.option("--poll-interval", type=int, help="Milliseconds between looks. [default: 2000]")
@click.option(
    "--listen/--no-listen",
    default=None,
    help="Be told of new jobs, or only poll. [default: listen]",
)
@click.option("--job-timeout", type=int, help="Seconds a run may take at most. [default: no limit]")
@click.option("--drain-timeout", type=int, help="Seconds running jobs may take after a stop.")
@click.option(
    "--drain-action",
    type=click.Choice(["release", "fail"]),
    default="release",
    envvar="KONGTASK_DRAIN_ACTION",
    show_default=True,
    help="What becomes of jobs that run on after that.",
)
@click.option(
    "--recovery-timeout",
    type=int,
    help="Seconds within which others free its jobs should this process die. [default: 10]",
)
@click.option(
    "--attempts-count/--attempts-free", default=None,
    help="Whether the attempts count that died with the process. [default: they count]",
)  # fmt: skip
@click.option(
    "--start-timeout", type=int,
    help="Seconds to wait at the start for a database that does not answer. [default: 30]",
)  # fmt: skip
@click.option(
    "--health-port", type=int,
    help="Serve /livez, /readyz and /metrics on this port; of several processes, each next one on "
    "the next port.",
)  # fmt: skip
@click.option("--migrate/--no-migrate", default=True, help="Migrate the schema first, or do not.")
@log_options
def worker(log_level: str, log_format: Any, **flags: Any) -> None:
    """Run jobs until stopped. SIGTERM or ctrl-C drains: running jobs finish first.

    It runs on uvloop where that is installed, unless KONGTASK_UVLOOP is 0.

    Exit codes: 0 drained, 1 jobs were cut off after --drain-timeout, 130 or 143 they were by a
    second ctrl-C or SIGTERM, 2 a mistake that is named. Of several processes the worst counts.
    """
    log_to_stderr(log_format, log_level)
    try:
        with ended_by_sigterm():
            _start(flags)
    except KeyboardInterrupt:
        click.echo("kongtask: stopped", err=True)


def _start(flags: Mapping[str, Any]) -> None:
    settings = worker_settings(os.environ, flags)
    if settings.processes > 1:
        sys.exit(_start_processes(settings))
    _start_worker(settings)


def _start_processes(settings: WorkerSettings) -> int:
    """Look once, ahead of all children, at what would end each of them."""
    from kongtask.cli.processes import run_processes  # the children themselves do without

    if not settings.tasks:
        _default_tasks()
    _crontab(settings)
    if settings.migrate:
        asyncio.run(_migrate(settings))
    return asyncio.run(run_processes(settings, sys.argv[1:], os.environ))


async def _migrate(settings: WorkerSettings) -> None:
    pool = await first_contact(lambda: _connected(settings), settings, Clock(), StandardLogger())
    await close_pool(pool)


async def _connected(settings: WorkerSettings) -> asyncpg.Pool[Any]:
    """Return connections to a server that takes writes, its schema migrated where that is asked."""
    pool = await open_pool(settings.database.url, writable=True)
    try:
        if settings.migrate:
            await run_migrations(pool, settings.database.schema)
    except BaseException:
        await close_pool(pool)
        raise
    return pool


def _start_worker(settings: WorkerSettings) -> None:
    sys.path.insert(0, os.getcwd())
    tasks = load_tasks(settings.tasks or _default_tasks())
    crontab = _crontab(settings)
    _warn_of_unknown(crontab, tasks)
    flush = configure_tracing(os.environ)
    try:
        _run_on_loop(_work(settings, tasks, crontab, flush), uvloop=settings.uvloop)
    finally:
        flush()


def _run_on_loop(work: Coroutine[Any, Any, None], *, uvloop: bool) -> None:
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if uvloop:
        with suppress(ImportError):
            factory = import_module("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(work)


def _default_tasks() -> tuple[str, ...]:
    for place in ("tasks.py", "tasks"):
        if Path(place).exists():
            return (place,)
    raise ConfigurationError(
        "no tasks: give -t MODULE_OR_PATH or set KONGTASK_TASKS, or run where tasks.py lies"
    )


def _crontab(settings: WorkerSettings) -> tuple[ParsedCronItem, ...]:
    if settings.crontab is None:
        return ()
    from kongtask.cli.crontab_file import read_crontab  # workers without a crontab do without

    return read_crontab(settings.crontab)


def _warn_of_unknown(crontab: tuple[ParsedCronItem, ...], tasks: Mapping[str, Any]) -> None:
    """Say which recurring jobs this worker adds and cannot run; others may run them."""
    for name in sorted({item.task for item in crontab} - tasks.keys()):
        StandardLogger().warn(
            f"the crontab adds jobs of task {name!r}, which this worker does not know: correct "
            "the line, or add the task to what -t names",
            {"task": name},
        )


async def _work(
    settings: WorkerSettings,
    tasks: Mapping[str, TaskHandler],
    crontab: tuple[ParsedCronItem, ...],
    flush: Callable[[], None],
) -> None:
    options = _options(settings, crontab)
    pool = await first_contact(
        lambda: _connected(settings), settings, options.clock, options.logger
    )
    try:
        workers = WorkerPool(tasks, pool, options, once=settings.once, dsn=settings.database.url)
        await _run(workers, settings, options, sorted(tasks))
    except ShutdownTimeout as error:
        await asyncio.to_thread(flush)
        _leave(error)
    finally:
        await close_pool(pool)


def _leave(error: ShutdownTimeout) -> NoReturn:
    """End although a handler does not: one may sit in a thread, or swallow its cancellation."""
    complain(error)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(CUT_OFF if error.signal is None else 128 + signal.Signals[error.signal])


def _options(settings: WorkerSettings, crontab: tuple[ParsedCronItem, ...]) -> WorkerPoolOptions:
    options = WorkerPoolOptions(
        concurrency=settings.concurrency,
        schema=settings.database.schema,
        poll_interval=settings.poll_interval,
        drain_timeout=settings.drain_timeout,
        job_timeout=settings.job_timeout,
        listen=settings.listen,
        drain_action=settings.drain_action,
        recovery_timeout=settings.recovery_timeout,
        attempts_count=settings.attempts_count,
        worker_name=settings.name,
        cron_items=crontab,
        events=EventBus(),
        clock=Clock(),
    )
    log_jobs(options.events, options.logger)
    return options


async def _run(
    workers: WorkerPool, settings: WorkerSettings, options: WorkerPoolOptions, names: list[str]
) -> None:
    with ExitStack() as stack:
        if settings.health_port is not None:
            # What a worker does not serve need not be loaded before its first job.
            from kongtask.worker.health import health_server
            from kongtask.worker.metrics import worker_metrics

            registry = worker_metrics(options.events, workers, options.concurrency)
            server = health_server(workers, registry, settings.health_port, options.clock)
            port = stack.enter_context(server)
            options.logger.info(f"health on port {port}: /livez /readyz /metrics")
        await workers.start()
        options.logger.info(
            f"working on {describe(settings.database.url)}, schema {options.schema}, "
            f"{options.concurrency} at a time: {', '.join(names)}"
        )
        await workers.wait()
