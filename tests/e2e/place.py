"""A namespace and a database of one test's own, and the words in which tests speak of them."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import asyncpg
from cluster import Json, apply, found, get, kubectl, until

IMAGE = "kongtask-e2e:1"
NEXT_IMAGE = "kongtask-e2e:2"

TABLES = """
create table runs (
    id bigint generated always as identity primary key,
    job_id bigint not null, task text not null, attempt int not null,
    pod text not null, version text not null,
    started_at timestamptz not null default now(), finished_at timestamptz
);
create table gates (name text primary key);
"""

SPEC: Json = {
    "image": IMAGE,
    "imagePullPolicy": "IfNotPresent",
    "tasks": {"modules": ["e2e_tasks"]},
    "database": {"secretRef": {"name": "database"}},
    "scaling": {"maxReplicas": 4, "cooldownSeconds": 5, "pollPeriodSeconds": 2},
    "drain": {"timeoutSeconds": 120},
    "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}},
}


def manifest(namespace: str, spec: Json) -> Json:
    """A pool called mail; `scaling` is merged into the usual one, the rest replaces it."""
    merged = copy.deepcopy(SPEC) | spec
    if "scaling" in spec:
        merged["scaling"] = SPEC["scaling"] | spec["scaling"]
    return {
        "apiVersion": "kongtask.dev/v1alpha1",
        "kind": "KongTaskPool",
        "metadata": {"name": "mail", "namespace": namespace},
        "spec": merged,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one test happens. `uri` is the connection string as pods use it."""

    namespace: str
    uri: str
    db: asyncpg.Pool[Any]

    def store_uri(self, uri: str, key: str = "uri") -> None:
        """Make the Secret say this."""
        named = {"name": "database", "namespace": self.namespace}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": named, "stringData": {key: uri}}
        kubectl("delete", "secret", "database", "-n", self.namespace, "--ignore-not-found")
        apply(secret)

    def pool(self, **spec: Any) -> None:
        """Apply the pool with these fields of its spec."""
        apply(manifest(self.namespace, spec))

    async def ready_pool(self, **spec: Any) -> None:
        """Apply the pool and return when it is Ready for what was applied."""
        self.pool(**spec)
        await self.until_condition("Ready", "True")

    def seen(self) -> Json | None:
        """Return the pool as the cluster has it, or None."""
        return get("kongtaskpool", self.namespace, "mail")

    def condition(self, kind: str) -> Json:
        """Return a condition that speaks of the current spec, or an empty one."""
        pool = self.seen() or {}
        conditions = pool.get("status", {}).get("conditions", [])
        current = pool.get("metadata", {}).get("generation")
        named = (each for each in conditions if each["type"] == kind)
        return next((each for each in named if each["observedGeneration"] == current), {})

    async def until_condition(self, kind: str, status: str, reason: str | None = None) -> Json:
        """Return the condition when it has this status, and this reason if one is given."""

        def look() -> Json:
            told = self.condition(kind)
            wanted = told.get("status") == status and reason in (None, told.get("reason"))
            return told if wanted else {}

        try:
            return await until(f"{kind}={status} ({reason or 'any reason'})", look, 120)
        except AssertionError as error:
            raise AssertionError(f"{error}: it is {self.condition(kind)}") from None

    def pods(self) -> list[Json]:
        """Return the worker pods there are, those that are stopping included."""
        chosen = "kongtask.dev/pool=mail,app.kubernetes.io/component=worker"
        return found("pods", self.namespace, "-l", chosen)

    def live_pods(self) -> set[str]:
        """Return the names of the worker pods that were not told to stop."""
        named = (pod["metadata"] for pod in self.pods())
        return {each["name"] for each in named if "deletionTimestamp" not in each}

    def ready_pods(self) -> set[str]:
        """Return the names of the worker pods that are ready."""
        ready = {"type": "Ready", "status": "True"}.items()
        return {
            pod["metadata"]["name"]
            for pod in self.pods()
            if any(ready <= each.items() for each in pod["status"].get("conditions", ()))
        }

    def replicas(self) -> int:
        """Return how many workers the Deployment asks for."""
        deployment = get("deployment", self.namespace, "mail")
        return 0 if deployment is None else int(deployment["spec"]["replicas"])

    async def add(self, task: str, count: int = 1, payload: str = "{}") -> None:
        """Add jobs in plain SQL, as any program in any language may."""
        await self.db.execute(
            "select graphile_worker.add_job($1, $3::json) from generate_series(1, $2::int)",
            task, count, payload,
        )  # fmt: skip

    async def add_gated(self, *gates: str) -> None:
        """Add a job for each gate, which ends when its gate opens."""
        for gate in gates:
            await self.add("gated", payload=f'{{"gate": "{gate}"}}')

    async def open(self, *gates: str) -> None:
        """Let the jobs that wait at these gates end."""
        for gate in gates:
            await self.db.execute("insert into gates values ($1) on conflict do nothing", gate)

    async def runs(self, task: str) -> list[asyncpg.Record]:
        """Return the runs of a task, the earliest first."""
        return await self.db.fetch("select * from runs where task = $1 order by id", task)

    async def until_running(self, task: str, count: int) -> list[asyncpg.Record]:
        """Return the runs of a task when so many have begun."""

        async def look() -> list[asyncpg.Record]:
            runs = await self.runs(task)
            return runs if len(runs) >= count else []

        return await until(f"{count} runs of {task}", look)

    async def until_finished(self, task: str, count: int) -> list[asyncpg.Record]:
        """Return all runs of a task when so many have come to their end."""

        async def look() -> list[asyncpg.Record]:
            runs = await self.runs(task)
            return runs if sum(run["finished_at"] is not None for run in runs) >= count else []

        return await until(f"{count} finished runs of {task}", look)

    async def jobs_left(self) -> int:
        """Return how many jobs are in the table, running, waiting or failed for good."""
        return int(await self.db.fetchval("select count(*) from graphile_worker.jobs"))

    async def until_no_jobs(self) -> None:
        """Return when the table of jobs is empty."""

        async def look() -> bool:
            return await self.jobs_left() == 0

        await until("no job left", look)


def once_each(runs: list[asyncpg.Record]) -> bool:
    """Whether every job ran once, in its first attempt, to its end."""
    jobs = {run["job_id"] for run in runs}
    return len(jobs) == len(runs) and all(
        run["attempt"] == 1 and run["finished_at"] for run in runs
    )
