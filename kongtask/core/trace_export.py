"""What the OTEL_* variables ask for, read once from a mapping.

It refuses what cannot work before a job runs, and never shows the value of a header.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

from kongtask.errors import ConfigurationError

SERVICE = "kongtask-worker"

PROTOCOLS = ("grpc", "http/protobuf")
COMPRESSIONS = ("none", "gzip", "deflate")
_BATCH = {
    "schedule_delay_millis": "OTEL_BSP_SCHEDULE_DELAY",
    "max_queue_size": "OTEL_BSP_MAX_QUEUE_SIZE",
    "max_export_batch_size": "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What the environment asks for."""

    variable: str
    endpoint: str
    protocol: str = "http/protobuf"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: float | None = None
    compression: str = "none"
    sampler: str = "parentbased_always_on"
    ratio: float = 1.0
    remark: str = ""
    resource: Mapping[str, str] = field(default_factory=dict)
    batch: Mapping[str, int] = field(default_factory=dict)

    @property
    def shown(self) -> str:
        """The endpoint without user and password."""
        return _shown(urlsplit(self.endpoint))


def export_wanted(environment: Mapping[str, str]) -> Export | None:
    """Return what the environment asks for, or None when it asks for no traces.

    >>> export_wanted({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://jaeger:4318"}).endpoint
    'http://jaeger:4318/v1/traces'
    >>> export_wanted({})
    """
    variable, text = _signal(environment, "ENDPOINT")
    if not text or environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    if not _exports_otlp(environment.get("OTEL_TRACES_EXPORTER", "")):
        return None
    url = _url(variable, text)
    protocol = _protocol(environment, url)
    if protocol == "http/protobuf" and "_TRACES_" not in variable:
        url = url._replace(path=url.path.rstrip("/") + "/v1/traces")
    sampler, ratio, remark = _sampling(environment)
    return Export(
        variable=variable,
        endpoint=url.geturl(),
        protocol=protocol,
        headers=_headers(environment),
        timeout=_timeout(environment),
        compression=_compression(environment, protocol),
        sampler=sampler,
        ratio=ratio,
        remark=remark,
        resource=_resource(environment),
        batch=_batch(environment),
    )


def _signal(environment: Mapping[str, str], name: str) -> tuple[str, str]:
    """Return the variable that counts, the one for traces before the common one, and its text."""
    for prefix in ("OTEL_EXPORTER_OTLP_TRACES_", "OTEL_EXPORTER_OTLP_"):
        text = environment.get(prefix + name, "").strip()
        if text:
            return prefix + name, text
    return f"OTEL_EXPORTER_OTLP_{name}", ""


def _exports_otlp(text: str) -> bool:
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    if not names or "otlp" in names:
        return True
    if names == ["none"]:
        return False
    raise ConfigurationError(
        f"OTEL_TRACES_EXPORTER must be otlp or none, got {text!r}: "
        "set it to otlp, or to none to send no traces"
    )


def _url(variable: str, text: str) -> SplitResult:
    way_out = "write it as http://HOST:PORT"
    try:
        url = urlsplit(text)
        shown = _shown(url)
    except ValueError:
        raise ConfigurationError(f"{variable} is not a URL: {way_out}") from None
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ConfigurationError(
            f"{variable} must begin with http:// or https:// and name a host, got {shown!r}: "
            f"{way_out}"
        )
    return url


def _shown(url: SplitResult) -> str:
    """Return the URL without user and password; raises ValueError when its port is not one."""
    _ = url.port
    return url._replace(netloc=url.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _protocol(environment: Mapping[str, str], url: SplitResult) -> str:
    """Return the protocol; port 4317, which is always gRPC's, stands for it when none is named."""
    variable, text = _signal(environment, "PROTOCOL")
    if not text:
        return "grpc" if url.port == 4317 else "http/protobuf"
    if text.lower() not in PROTOCOLS:
        raise ConfigurationError(
            f"{variable} must be grpc or http/protobuf, got {text!r}: correct it, or remove it "
            "to have port 4317 taken for grpc and any other for http/protobuf"
        )
    return text.lower()


def _headers(environment: Mapping[str, str]) -> dict[str, str]:
    variable, text = _signal(environment, "HEADERS")
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    if any(not sign or not name.strip().isascii() or not name.strip() for name, sign, _ in pairs):
        raise ConfigurationError(
            f"{variable} cannot be read (its value is not shown): write it as NAME=VALUE,NAME=VALUE"
        )
    return {name.strip().lower(): unquote(value.strip()) for name, _, value in pairs}


def _timeout(environment: Mapping[str, str]) -> float | None:
    variable, text = _signal(environment, "TIMEOUT")
    return _number(variable, text, "seconds") if text else None


def _compression(environment: Mapping[str, str], protocol: str) -> str:
    variable, text = _signal(environment, "COMPRESSION")
    allowed = ["none", "gzip"] if protocol == "grpc" else list(COMPRESSIONS)
    if text and text.lower() not in allowed:
        raise ConfigurationError(
            f"{variable} must be one of {', '.join(allowed)} with {protocol}, got {text!r}: "
            "correct or remove it"
        )
    return text.lower() or "none"


def _batch(environment: Mapping[str, str]) -> dict[str, int]:
    given = {
        name: (variable, environment.get(variable, "").strip()) for name, variable in _BATCH.items()
    }
    return {
        name: int(_number(variable, text, "a whole number"))
        for name, (variable, text) in given.items()
        if text
    }


def _number(variable: str, text: str, unit: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1e9:
        raise ConfigurationError(
            f"{variable} must be a positive number ({unit}), got {text!r}: correct or remove it"
        )
    return number


def _sampling(environment: Mapping[str, str]) -> tuple[str, float, str]:
    """Return sampler, ratio and a remark; what cannot be read becomes the SDK's default."""
    default = "parentbased_always_on"
    sampler = environment.get("OTEL_TRACES_SAMPLER", "").strip().lower() or default
    if sampler.removeprefix("parentbased_") not in ("always_on", "always_off", "traceidratio"):
        return default, 1.0, f"OTEL_TRACES_SAMPLER {sampler!r} is not known: {default} is used"
    text = environment.get("OTEL_TRACES_SAMPLER_ARG", "").strip()
    if not sampler.endswith("traceidratio") or not text:
        return sampler, 1.0, ""
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if 0 <= ratio <= 1:
        return sampler, ratio, ""
    return sampler, 1.0, f"OTEL_TRACES_SAMPLER_ARG must be from 0 to 1, got {text!r}: 1 is used"


def _resource(environment: Mapping[str, str]) -> dict[str, str]:
    texts = environment.get("OTEL_RESOURCE_ATTRIBUTES", "").split(",")
    pairs = [text.partition("=") for text in texts]
    given = {name.strip(): unquote(value.strip()) for name, sign, value in pairs if sign}
    name = environment.get("OTEL_SERVICE_NAME", "").strip()
    return {"service.name": SERVICE} | given | ({"service.name": name} if name else {})
