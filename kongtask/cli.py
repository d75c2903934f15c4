"""The command line: arguments become settings, settings become one call, errors become sentences.

Exit codes: 0 all went well, 1 jobs were cut off, 2 something the user can put right.
"""

from __future__ import annotations

import asyncio
import difflib
import json
import os
import sys
from collections.abc import Callable, Coroutine, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn

import click

import kongtask
from kongtask.clock import Clock
from kongtask.core.cron import CrontabError, ParsedCronItem, parse_crontab
from kongtask.core.job import Job
from kongtask.core.task_spec import TaskSpec
from kongtask.errors import ConfigurationError, InvalidJob, KongTaskError, ShutdownTimeout
from kongtask.job_lines import job_as_json, job_line, when_due
from kongtask.log_lines import log_to_stderr
from kongtask.logger import StandardLogger
from kongtask.postgres.go_layout import migrate_from_go
from kongtask.postgres.migrations import check_level, read_level, run_migrations
from kongtask.postgres.pool import close_pool, describe, open_pool
from kongtask.settings import WorkerSettings, database_settings, worker_settings
from kongtask.telemetry import configure_tracing
from kongtask.worker.event_bus import EventBus
from kongtask.worker.health import health_server
from kongtask.worker.job_log import log_jobs
from kongtask.worker.metrics import worker_metrics
from kongtask.worker.options import WorkerPoolOptions
from kongtask.worker.pool import WorkerPool
from kongtask.worker.signals import ended_by_sigterm
from kongtask.worker.tasks import TaskHandler, load_tasks
from kongtask.worker_utils import WorkerUtils

CUT_OFF = 1
USERS_MISTAKE = 2

_Command = Callable[..., Any]


def main() -> None:
    """Run the command line and exit."""
    try:
        cli(standalone_mode=True)
    except KongTaskError as error:
        _complain(error)
        sys.exit(USERS_MISTAKE)


def _complain(error: KongTaskError) -> None:
    click.echo(f"kongtask: {error}", err=True)
    if isinstance(error, CrontabError):
        click.echo(error.excerpt, err=True)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(kongtask.__version__, prog_name="kongtask")
def cli() -> None:
    """Run PostgreSQL jobs written in Python, on Graphile Worker's tables.

    \b
    A first job:
      kongtask migrate -c postgres://localhost/shop
      kongtask add send_email '{"to": "ann@example.com"}' -c postgres://localhost/shop
      kongtask worker -c postgres://localhost/shop -t tasks.py
    """


def _database_options(command: _Command) -> _Command:
    for option in (
        click.option("-s", "--schema", help="Postgres schema. [default: graphile_worker]"),
        click.option("-c", "--connection", metavar="URL", help="Database; default $DATABASE_URL."),
    ):
        command = option(command)
    return command


def _log_options(command: _Command) -> _Command:
    levels = click.Choice(["debug", "info", "warning", "error"])
    for option in (
        click.option(
            "--log-level", type=levels, default="info", envvar="KONGTASK_LOG_LEVEL",
            show_default=True,
        ),
        click.option(
            "--log-format", type=click.Choice(["text", "json"]), default="text",
            envvar="KONGTASK_LOG_FORMAT", show_default=True,
        ),
    ):  # fmt: skip
        command = option(command)
    return command


@cli.command()
@_database_options
@click.option("-j", "--jobs", type=int, help="Jobs that run at the same time. [default: 1]")
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
@click.option("--listen/--no-listen", default=True, help="Be told of new jobs, or only poll.")
@click.option("--job-timeout", type=int, help="Seconds a run may take at most. [default: no limit]")
@click.option("--drain-timeout", type=int, help="Seconds running jobs may take after a stop.")
@click.option("--health-port", type=int, help="Serve /livez, /readyz and /metrics on this port.")
@click.option("--migrate/--no-migrate", default=True, help="Migrate the schema first, or do not.")
@_log_options
def worker(log_level: str, log_format: Any, **flags: Any) -> None:
    """Run jobs until stopped. SIGTERM or ctrl-C drains: running jobs finish first."""
    log_to_stderr(log_format, log_level)
    try:
        with ended_by_sigterm():
            _start_worker(flags)
    except KeyboardInterrupt:
        click.echo("kongtask: stopped", err=True)


def _start_worker(flags: Mapping[str, Any]) -> None:
    settings = worker_settings(os.environ, flags)
    sys.path.insert(0, os.getcwd())
    tasks = load_tasks(settings.tasks or _default_tasks())
    crontab = _read_crontab(settings.crontab)
    _warn_of_unknown(crontab, tasks)
    flush = configure_tracing(os.environ)
    try:
        asyncio.run(_work(settings, tasks, crontab, flush))
    finally:
        flush()


def _default_tasks() -> tuple[str, ...]:
    for place in ("tasks.py", "tasks"):
        if Path(place).exists():
            return (place,)
    raise ConfigurationError(
        "no tasks: give -t MODULE_OR_PATH or set KONGTASK_TASKS, or run where tasks.py lies"
    )


def _read_crontab(path: Path | None) -> tuple[ParsedCronItem, ...]:
    if path is None:
        return ()
    try:
        return parse_crontab(path.read_text(encoding="utf-8"))
    except CrontabError as error:
        error.args = (f"{path}: {error}",)
        raise
    except OSError as error:
        raise ConfigurationError(
            f"crontab {path} cannot be read ({error.strerror}): correct the path"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"crontab {path} is not UTF-8 text: save it as UTF-8") from error


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
    pool = await open_pool(settings.database.url)
    try:
        if settings.migrate:
            await run_migrations(pool, settings.database.schema)
        options = _options(settings, crontab)
        workers = WorkerPool(tasks, pool, options, once=settings.once, dsn=settings.database.url)
        await _run(workers, settings, options, sorted(tasks))
    except ShutdownTimeout as error:
        await asyncio.to_thread(flush)
        _leave(error)
    finally:
        await close_pool(pool)


def _leave(error: ShutdownTimeout) -> NoReturn:
    """End although a handler does not: one may sit in a thread, or swallow its cancellation."""
    _complain(error)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(CUT_OFF)


def _options(settings: WorkerSettings, crontab: tuple[ParsedCronItem, ...]) -> WorkerPoolOptions:
    options = WorkerPoolOptions(
        concurrency=settings.concurrency,
        schema=settings.database.schema,
        poll_interval=settings.poll_interval,
        drain_timeout=settings.drain_timeout,
        job_timeout=settings.job_timeout,
        listen=settings.listen,
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


@cli.command()
@_database_options
@click.option(
    "--from-kongtask-go", is_flag=True, help="Move the jobs of KongTask for Go; keeps its tables."
)
@_log_options
def migrate(log_level: str, log_format: Any, from_kongtask_go: bool, **flags: Any) -> None:
    """Create the schema's tables, or bring them up to date. Safe to run at any time."""
    log_to_stderr(log_format, log_level)
    settings = database_settings(os.environ, flags)

    async def run() -> str:
        pool = await open_pool(settings.url, max_size=1)
        try:
            if from_kongtask_go:
                return (
                    f"holds {await migrate_from_go(pool, settings.schema)} jobs of KongTask for Go"
                )
            return f"is at level {await run_migrations(pool, settings.schema)}"
        finally:
            await close_pool(pool)

    click.echo(f"schema {settings.schema} of {describe(settings.url)} {asyncio.run(run())}")


@cli.command()
@_database_options
@click.option(
    "--state", type=click.Choice(["waiting", "scheduled", "running", "failed"]), default="failed",
    show_default=True,
)  # fmt: skip
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each job.")
def jobs(state: Any, limit: int, as_json: bool, **flags: Any) -> None:
    """List jobs of one state, for example those that failed for good."""
    settings = database_settings(os.environ, flags)

    async def run() -> list[Job]:
        async with await WorkerUtils.connect(settings.url, settings.schema) as utils:
            return await utils.list_jobs(state, limit)

    found = asyncio.run(run())
    for job in found:
        click.echo(json.dumps(job_as_json(job)) if as_json else job_line(job))
    if not found and not as_json:
        click.echo(f"no {state} jobs in schema {settings.schema}")


@cli.command()
@click.argument("task")
@click.argument("payload", metavar="JSON", default="{}")
@_database_options
@click.option("--queue", "queue_name", help="Run one after the other with others of this queue.")
@click.option("--run-at", type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S.%f%z"]),
              help="Not before this moment, such as 2026-01-31T09:00:00+0000.")  # fmt: skip
@click.option("--priority", type=int, help="Lower runs first. [default: 0]")
@click.option("--max-attempts", type=int, help="Runs before it is failed for good. [default: 25]")
@click.option("--key", "job_key", help="Change the waiting job with this key, if there is one.")
@click.option("--key-mode", "job_key_mode", help="replace, preserve_run_at or unsafe_dedupe.")
@click.option("--flag", "flags", multiple=True, help="Label that workers may refuse.")
@click.option("--force", is_flag=True, help="Add it although no worker is known for the task.")
@click.option("--json", "as_json", is_flag=True, help="Print the job as JSON.")
def add(
    task: str,
    payload: str,
    connection: str | None,
    schema: str | None,
    force: bool,
    as_json: bool,
    **spec: Any,
) -> None:
    """Add a job for TASK with a payload of JSON; - reads the payload from standard input."""
    settings = database_settings(os.environ, {"connection": connection, "schema": schema})
    value = _parsed(sys.stdin.read() if payload == "-" else payload)
    wanted = TaskSpec(**{**spec, "flags": spec["flags"] or None})

    async def run() -> Job:
        async with await WorkerUtils.connect(settings.url, settings.schema) as utils:
            check_level(await read_level(utils.pool, settings.schema), settings.schema)
            if not force:
                _check_known(task, await utils.known_tasks())
            return await utils.add_job(task, value, wanted)

    job = _traced(run())
    if as_json:
        click.echo(json.dumps(job_as_json(job)))
    else:
        click.echo(f"added job {job.id} ({task}), to run {when_due(job)}")


def _traced(work: Coroutine[Any, Any, Job]) -> Job:
    flush = configure_tracing(os.environ)
    try:
        return asyncio.run(work)
    finally:
        flush()


def _parsed(text: str) -> object:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise InvalidJob(
            f"payload is not JSON ({error}), got {text[:60]!r}: "
            """write it for the shell as '{"key": "value"}'""",
            field="payload", value=text,
        ) from error  # fmt: skip


def _check_known(task: str, known: list[str]) -> None:
    if not known or task in known:
        return
    close = difflib.get_close_matches(task, known, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    shown = ", ".join(known[:8]) + (", …" if len(known) > 8 else "")
    raise ConfigurationError(
        f"no worker of this schema knows a task {task!r}; known are {shown}: "
        f"{hint}Add it all the same with --force"
    )


@cli.command()
@click.argument("manifest", type=click.Path(path_type=Path))
@click.option("-c", "--connection", metavar="URL", help="Database; default an embedded one.")
@click.option(
    "--add", "first_jobs", type=(str, str), multiple=True, metavar="TASK JSON",
    help="Add a job when everything is ready; may be given more than once.",
)  # fmt: skip
def dev(manifest: Path, connection: str | None, first_jobs: tuple[tuple[str, str], ...]) -> None:
    """Run the KongTaskPool in MANIFEST on this machine, with no cluster.

    The image is ignored: tasks are imported from the current folder. Without -c an embedded
    Postgres is started, which keeps its data under .kongtask/.
    """
    try:
        from kongtask.dev import run_dev
    except ImportError as error:
        raise ConfigurationError(
            f"kongtask dev needs more packages ({error}): pip install 'kongtask[dev]'"
        ) from error
    sys.exit(
        asyncio.run(
            run_dev(
                manifest,
                database_url=connection,
                say=click.echo,
                environment=os.environ,
                first_jobs=first_jobs,
            )
        )
    )
