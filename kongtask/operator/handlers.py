"""What kopf delivers: each handler hands one thing on and returns.

No decision is made here and nothing is kept in kopf's annotations.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import kopf

from kongtask.operator.pools import Pools, pool_key

GROUP, VERSION, PLURAL = "kongtask.dev", "v1alpha1", "kongtaskpools"
OWNED = (("apps", "v1", "deployments"), ("batch", "v1", "jobs"), ("", "v1", "pods"))
FINALIZER = "kongtask.dev/drain"


def handlers(pools: Pools, leave: Callable[[], Awaitable[None]]) -> kopf.OperatorRegistry:
    """Return the handlers that follow pools and what belongs to them.

    `leave` ends what else runs; kopf would wait seconds for it otherwise.
    """
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        found = kopf.login_with_service_account(**kwargs)
        return found or kopf.login_with_kubeconfig(**kwargs)

    @kopf.on.cleanup(registry=registry)
    async def leaving(**_: Any) -> None:
        await leave()

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def saw_pool(type: str | None, body: kopf.Body, **_: Any) -> None:
        if type != "DELETED":
            pools.saw(pool_key(body), _plain(body))

    @kopf.daemon(GROUP, VERSION, PLURAL, registry=registry)
    async def follow_pool(stopped: kopf.DaemonStopped, body: kopf.Body, **_: Any) -> None:
        key = pool_key(body)
        pools.saw(key, _plain(body))
        following = asyncio.create_task(pools.follow(key, lambda: _is_exiting(stopped)))
        stopping = asyncio.create_task(_told(stopped))
        try:
            await asyncio.wait({following, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not _is_exiting(stopped):
                pools.wake(key)
                await following
        finally:
            # A pass may be cut anywhere: the next operator looks anew.
            following.cancel()
            stopping.cancel()

    for group, version, plural in OWNED:

        @kopf.on.event(
            group, version, plural,
            registry=registry, labels={"kongtask.dev/pool": kopf.PRESENT},
        )  # fmt: skip
        async def saw_owned(body: kopf.Body, **_: Any) -> None:
            pools.touch(pool_key(body))

    return registry


async def _told(stopped: kopf.DaemonStopped) -> None:
    await stopped.wait()


def _plain(body: kopf.Body) -> dict[str, Any]:
    return {**dict(body), "apiVersion": f"{GROUP}/{VERSION}", "kind": "KongTaskPool"}


def _is_exiting(stopped: kopf.DaemonStopped) -> bool:
    reason = stopped.reason
    return reason is not None and kopf.DaemonStoppingReason.OPERATOR_EXITING in reason


def operator_settings() -> kopf.OperatorSettings:
    """Return kopf's settings, each with its reason."""
    settings = kopf.OperatorSettings()
    # A watch that died silently is opened anew after five minutes at the latest.
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.connect_timeout = 10
    settings.watching.reconnect_backoff = 1
    for group, version, plural in OWNED:
        resource = f"{plural}.{version}.{group}" if group else f"{plural}.{version}"
        settings.watching.label_selectors[resource] = "kongtask.dev/pool"
    settings.networking.request_timeout = 30
    settings.queueing.worker_limit = 20
    settings.persistence.finalizer = FINALIZER
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    # Events are transitions of conditions; the cluster door posts them.
    settings.posting.enabled = False
    # A pool that is deleted drains; kopf looks whether its loop has ended.
    settings.background.cancellation_polling = 1
    settings.process.ultimate_exiting_timeout = 60
    return settings
