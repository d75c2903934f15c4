"""A program as the worker is: sets tracing up, runs jobs with these contexts, sends the last spans.

Its arguments are traceparents, or - for none. It prints what a test wants to know as JSON.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time

from trace_jobs import NOW, a_job

from kongtask.core.attempt import SUCCESS
from kongtask.telemetry import configure_tracing
from kongtask.tracing import Tracing


def main(contexts: list[str]) -> None:
    logging.basicConfig(level=logging.DEBUG, format="%(levelname)s %(name)s %(message)s")
    logging.getLogger("urllib3").setLevel(logging.INFO)
    if os.environ.get("WITHOUT_SDK"):
        sys.modules["opentelemetry.sdk"] = None  # type: ignore[assignment]
    if os.environ.get("OWN_PROVIDER"):
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.trace import set_tracer_provider

        set_tracer_provider(TracerProvider(shutdown_on_exit=False))
    flush = configure_tracing(os.environ)
    tracing = Tracing()
    for number, text in enumerate(contexts):
        # A retry, so that a context is followed by a link.
        job = a_job(id=number, attempts=2, traceparent=None if text == "-" else text)
        with tracing.processing(job, worker_id="w", now=NOW) as attempt:
            attempt.finish(SUCCESS)
    began = time.monotonic()
    flush()
    took = time.monotonic() - began
    flush()
    print(json.dumps({"flush": took, "sdk": "opentelemetry.sdk.trace" in sys.modules}))


main(sys.argv[1:])
