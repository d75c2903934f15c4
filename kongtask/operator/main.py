"""The operator as a process: reads the environment, puts the parts together, runs them.

Started by `kongtask-operator` or `python -m kongtask.operator.main`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys

import kopf
from aiohttp import web

from kongtask.clock import Clock
from kongtask.errors import ConfigurationError, KongTaskError
from kongtask.operator.handlers import handlers, operator_settings
from kongtask.operator.health import Progress, health_app
from kongtask.operator.kubernetes import KubernetesCluster
from kongtask.operator.kubernetes_api import KubernetesApi
from kongtask.operator.pools import Pools
from kongtask.operator.postgres_database import PostgresDatabase
from kongtask.operator.reconcile import Reconciler
from kongtask.operator.settings import OperatorSettings, read_settings

logger = logging.getLogger("kongtask.operator")


async def run(settings: OperatorSettings) -> None:
    """Run the operator until it is told to stop."""
    clock = Clock()
    api = await KubernetesApi.connect()
    cluster = KubernetesCluster(api, clock)
    progress = Progress(clock)
    database = PostgresDatabase(clock, wake=lambda key: pools.wake(key))
    reconciler = Reconciler(cluster=cluster, database=database, clock=clock)
    pools = Pools(reconciler=reconciler, progress=progress, changed=cluster.changed, clock=clock)
    ready = asyncio.Event()
    runner = web.AppRunner(health_app(progress, ready.is_set), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, port=settings.port).start()
        await kopf.operator(
            registry=handlers(pools, leave=database.close),
            settings=operator_settings(),
            standalone=True,
            clusterwide=not settings.namespaces,
            namespaces=settings.namespaces,
            ready_flag=ready,
        )
    finally:
        await runner.cleanup()
        await database.close()
        await api.close()


def main() -> None:
    """Run the operator; exit with 2 and one sentence when the environment is wrong."""
    try:
        settings = read_settings(os.environ)
        logging.basicConfig(
            level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s"
        )
        # kopf tells of each event that it delivered; what comes of it is told elsewhere.
        logging.getLogger("kopf.objects").setLevel("WARNING")
        asyncio.run(run(settings))
    except ConfigurationError as error:
        print(f"kongtask-operator: {error}", file=sys.stderr)
        sys.exit(2)
    except KongTaskError as error:
        print(f"kongtask-operator: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
