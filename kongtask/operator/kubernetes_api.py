"""The one door to the Kubernetes API: requests of plain JSON, failures as the package's errors.

It knows no kinds. A write is a server-side apply or a merge patch under one field manager.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import aiohttp
from kubernetes.aio import client, config

from kongtask.errors import ClusterUnavailable, ConfigurationError
from kongtask.operator.cluster import ActionRefused

FIELD_MANAGER = "kongtask-operator"
REQUEST_TIMEOUT = 30.0
"""Seconds after which a request is given up."""

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"

Json = dict[str, Any]


class KubernetesApi:
    """Sends requests with one client, made by `connect`."""

    def __init__(self, api: client.ApiClient) -> None:
        self._api = api

    @classmethod
    async def connect(cls) -> KubernetesApi:
        """Return a door to the cluster this process runs in, else the one that KUBECONFIG names.

        Raises `ConfigurationError` when there is neither.
        """
        settings = client.Configuration()
        try:
            config.load_incluster_config(settings)  # type: ignore[no-untyped-call]
        except config.ConfigException:
            try:
                await config.load_kube_config(  # type: ignore[no-untyped-call]
                    client_configuration=settings
                )
            except (config.ConfigException, OSError) as error:
                raise ConfigurationError(
                    f"no Kubernetes cluster to talk to ({error}): run inside one, or set KUBECONFIG"
                ) from error
        return cls(client.ApiClient(settings))

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()  # type: ignore[no-untyped-call]

    async def get(self, path: str, **query: str) -> Json | None:
        """Return the object or list at a path, or None when there is none."""
        return await self._send("GET", path, query)

    async def create(self, path: str, body: Json) -> None:
        """Create an object; one of the same name is left as it is."""
        await self._send("POST", path, {"fieldManager": FIELD_MANAGER}, body)

    async def apply(self, path: str, body: Json) -> Json | None:
        """Bring an object's fields to what the body says, taking them from whoever had them."""
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        return await self._send("PATCH", path, query, body, APPLY)

    async def merge(self, path: str, body: Json) -> Json | None:
        """Change the fields in the body; return None when the object is gone."""
        return await self._send("PATCH", path, {"fieldManager": FIELD_MANAGER}, body, MERGE)

    async def delete(self, path: str) -> None:
        """Delete an object and what it owns, if it is there."""
        await self._send("DELETE", path, {"propagationPolicy": "Background"})

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Json | None = None,
        content: str = "application/json",
    ) -> Json | None:
        try:
            status, answer = await self._answer(method, path, query, body, content)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            said = str(error) or type(error).__name__
            raise ClusterUnavailable(
                f"the Kubernetes API cannot be reached ({said}): trying again"
            ) from error
        if status < 300:
            return answer
        _raise_unless_expected(status, answer, method, path)
        return None

    async def _answer(
        self, method: str, path: str, query: Mapping[str, str], body: Json | None, content: str
    ) -> tuple[int, Json]:
        parameters = await self._api.param_serialize(
            method,
            path,
            query_params=list(query.items()),
            header_params={"Accept": "application/json", "Content-Type": content},
            body=body,
            auth_settings=["BearerToken"],
        )
        response = await self._api.call_api(*parameters, _request_timeout=REQUEST_TIMEOUT)
        text = await response.read()  # type: ignore[no-untyped-call]
        return int(response.status), _parsed(text)


def _parsed(text: bytes) -> Json:
    try:
        answer = json.loads(text)
    except ValueError:
        answer = {"message": text.decode(errors="replace")[:200]}
    return answer if isinstance(answer, dict) else {}


def _raise_unless_expected(status: int, answer: Json, method: str, path: str) -> None:
    message = str(answer.get("message", f"HTTP {status}"))
    unknown_kind = "could not find the requested resource" in message
    gone = status == 404 and method != "POST" and not unknown_kind
    there = status == 409 and answer.get("reason") == "AlreadyExists"
    if gone or there:
        return
    if status in (400, 403, 404, 422):
        raise ActionRefused(message, reason=refusal_reason(status, message))
    raise ClusterUnavailable(f"{method} {path}: {message}: trying again")


def refusal_reason(status: int, message: str) -> str:
    """Return the stable word for why the API server refused an object.

    >>> refusal_reason(403, 'pods "a" is forbidden: exceeded quota: small')
    'QuotaExceeded'
    """
    if "exceeded quota" in message:
        return "QuotaExceeded"
    return "ForbiddenByPolicy" if status == 403 else "PodTemplateInvalid"
