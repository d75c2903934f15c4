"""Who takes part, and with which settings. The document shows them in these words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

KONGTASK_TABLES = "select 1 from graphile_worker._private_jobs order by id desc limit 1"
"""The newest job is the last to go, and an index leads to it: asking costs next to nothing."""

BATCHED = {"localQueue": {"size": 500}, "completeJobBatchDelay": 0, "failJobBatchDelay": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Participants with one set of tables and one environment.

    script: the runner. environment: where it is installed. package: what its version is read from.
    pending: yields a row while jobs are left. filler: who fills its tables, if not itself.
    """

    name: str
    script: str
    environment: str
    package: str
    pending: str = KONGTASK_TABLES
    filler: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Participant:
    """One row of the tables.

    tables: the family whose tables it works on, if not its own. setting: its settings in words.
    share: the part of the jobs that it is given where it would take minutes, told in the tables.
    counts: whether its runner counts what was run. flag: what `kongtask worker --help` must show.
    adds: whether it adds steadily what it runs by its own call; else the same producer does, for
    all on Graphile's tables.
    """

    name: str
    family: Family
    setting: str
    tables: Family | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    concurrency: int = 24
    share: float = 1.0
    counts: bool = True
    flag: str | None = None
    adds: bool = False

    @property
    def home(self) -> Family:
        """The family whose tables it works on."""
        return self.tables or self.family


def _unfinished(table: str, *states: str) -> str:
    listed = ", ".join(f"'{state}'" for state in states)
    column = "status" if table != "oban_jobs" and not table.startswith("chancy") else "state"
    return f"select 1 from {table} where {column} in ({listed}) limit 1"


KONGTASK = Family(
    name="kongtask", script="run_kongtask.py", environment="kongtask", package="kongtask",
    filler="run_raw.py",
)  # fmt: skip
COMMAND_LINE = Family(
    name="kongtask-cli", script="run_kongtask_cli.py", environment="kongtask", package="kongtask"
)
RAW = Family(name="raw", script="run_raw.py", environment="kongtask", package="asyncpg")
GRAPHILE = Family(
    name="graphile", script="run_graphile.mjs", environment="graphile", package="graphile-worker",
    filler="run_raw.py",
)  # fmt: skip
PGQUEUER = Family(
    name="pgqueuer", script="run_pgqueuer.py", environment="pgqueuer", package="pgqueuer",
    pending="select 1 from pgqueuer limit 1",
)  # fmt: skip
OBAN = Family(
    name="oban", script="run_oban.py", environment="oban", package="oban",
    pending=_unfinished("oban_jobs", "available", "scheduled", "executing", "retryable"),
)  # fmt: skip
CHANCY = Family(
    name="chancy", script="run_chancy.py", environment="chancy", package="chancy",
    pending=_unfinished("chancy_jobs", "pending", "running", "retrying"),
)  # fmt: skip
SAQ = Family(
    name="saq", script="run_saq.py", environment="saq", package="saq",
    pending=_unfinished("saq_jobs", "new", "deferred", "queued", "active"),
)  # fmt: skip
PROCRASTINATE = Family(
    name="procrastinate", script="run_procrastinate.py", environment="procrastinate",
    package="procrastinate", pending=_unfinished("procrastinate_jobs", "todo", "doing"),
)  # fmt: skip

UVLOOP = {"uvloop": True}
QUIET = ["--log-level", "warning"]

PARTICIPANTS: dict[str, Participant] = {
    "raw": Participant(
        name="bare asyncpg (ceiling)", family=RAW, tables=KONGTASK,
        setting="fetches 500, deletes 500, nothing else; asyncio",
    ),
    "raw-uvloop": Participant(
        name="bare asyncpg, uvloop", family=RAW, tables=KONGTASK, settings=UVLOOP,
        setting="the same on uvloop",
    ),
    "kongtask": Participant(
        name="KongTask", family=KONGTASK, setting="concurrency 24, otherwise its defaults; asyncio"
    ),
    "kongtask-uvloop": Participant(
        name="KongTask, uvloop", family=KONGTASK, settings=UVLOOP, setting="the same on uvloop"
    ),
    "kongtask-adding": Participant(
        name="KongTask, uvloop, and its `add_job`", family=KONGTASK, settings=UVLOOP, adds=True,
        setting="the same, and jobs are added by `WorkerUtils.add_job` on uvloop",
    ),
    "kongtask-bare": Participant(
        name="KongTask, features taken away", family=KONGTASK, settings={"bare": True},
        setting="events, heartbeats and tracing replaced by nothing",
    ),
    "kongtask-traced": Participant(
        name="KongTask, every span sampled", family=KONGTASK,
        settings={"sampler": "always_on"},
        setting="OpenTelemetry's SDK, every span sampled and sent by OTLP over HTTP",
    ),
    "kongtask-traced-tenth": Participant(
        name="KongTask, one span in ten sampled", family=KONGTASK,
        settings={"sampler": "parentbased_traceidratio"},
        setting="the same with OTEL_TRACES_SAMPLER=parentbased_traceidratio and 0.1",
    ),
    "cli": Participant(
        name="`kongtask worker`", family=COMMAND_LINE, tables=KONGTASK, counts=False,
        settings={"flags": QUIET}, setting="-j 24 --log-level warning; timed from its first job",
    ),
    "cli-2": Participant(
        name="`kongtask worker --processes 2`", family=COMMAND_LINE, tables=KONGTASK, counts=False,
        settings={"flags": [*QUIET, "--processes", "2"]}, flag="--processes",
        setting="-j 24 --log-level warning --processes 2; timed from its first job",
    ),
    "graphile": Participant(
        name="Graphile Worker, batched", family=GRAPHILE, settings={"worker": BATCHED},
        setting="concurrentJobs 24, maxPoolSize 25, localQueue.size 500, completeJobBatchDelay 0, "
        "failJobBatchDelay 0 (those of its performance page)",
    ),
    "graphile-adding": Participant(
        name="Graphile Worker, batched, and its `addJob`", family=GRAPHILE,
        settings={"worker": BATCHED}, adds=True,
        setting="the same, and jobs are added by `workerUtils.addJob`",
    ),
    "graphile-plain": Participant(
        name="Graphile Worker, plain", family=GRAPHILE, share=0.25,
        setting="concurrentJobs 24, maxPoolSize 25, no batching (its default)",
    ),
    "graphile-polling": Participant(
        name="Graphile Worker, pollInterval 10 ms", family=GRAPHILE,
        settings={"worker": {"pollInterval": 10}},
        setting="concurrentJobs 24, maxPoolSize 25, no batching, pollInterval 10",
    ),
    "pgqueuer": Participant(
        name="PgQueuer, batch 100", family=PGQUEUER, settings={**UVLOOP, "batch_size": 100},
        setting="batch_size 100, asyncpg, uvloop",
    ),
    "pgqueuer-default": Participant(
        name="PgQueuer, batch 10", family=PGQUEUER, settings={**UVLOOP, "batch_size": 10},
        share=0.25, setting="batch_size 10 (its default), asyncpg, uvloop",
    ),
    "oban": Participant(
        name="Oban for Python", family=OBAN, concurrency=100, settings=UVLOOP, share=0.1,
        setting="queue limit 100, uvloop",
    ),
    "chancy": Participant(
        name="Chancy", family=CHANCY, concurrency=100, settings=UVLOOP, share=0.1,
        setting="concurrency 100, asyncio executor, eager_polling, uvloop",
    ),
    "saq": Participant(
        name="SAQ", family=SAQ, concurrency=50, settings=UVLOOP, share=0.025,
        setting="PostgreSQL queue, concurrency 50, uvloop",
    ),
    "procrastinate": Participant(
        name="Procrastinate", family=PROCRASTINATE, concurrency=20, settings=UVLOOP, share=0.025,
        setting="psycopg, concurrency 20, uvloop",
    ),
    "procrastinate-polling": Participant(
        name="Procrastinate, polling every 10 ms", family=PROCRASTINATE, concurrency=20,
        settings={**UVLOOP, "fetch_job_polling_interval": 0.01},
        setting="psycopg, concurrency 20, fetch_job_polling_interval 0.01, uvloop",
    ),
}  # fmt: skip

EVERYBODY = (
    "kongtask", "kongtask-uvloop", "graphile", "graphile-plain", "pgqueuer", "pgqueuer-default",
    "oban", "chancy", "saq", "procrastinate",
)  # fmt: skip
ON_GRAPHILE_TABLES = ("kongtask", "graphile", "graphile-plain")
WITH_QUEUES = (*ON_GRAPHILE_TABLES, "graphile-polling", "procrastinate")
