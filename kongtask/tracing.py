"""One span where a job is added, one for each of its attempts, and what ties them together.

It speaks OpenTelemetry's API alone: without an SDK nothing is made, and a job pays for a few
comparisons. It refuses to raise: whatever fails in here is logged once, and the job goes on.

A job's first attempt, soon after it was added alone, is a child of the span that added it. Retries,
late, replaced and bulk jobs begin a trace of their own with a link, so that no trace grows for
days. A span that is current when an attempt begins becomes its parent: whoever starts a worker's
loops inside a span must give them an empty context.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from kongtask.core.reports import Adding, Processing

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

    from kongtask.core.job import Job
    from kongtask.core.task_spec import TaskSpec
    from kongtask.spans import Spans

__all__ = ["Adding", "Processing", "Tracing"]

_UNTOLD_ADDING = Adding()
_UNTOLD_PROCESSING = Processing()


class Tracing:
    """Makes the spans of one process.

    dsn: the connection string; it names the server in each span, and its password is kept out.
    tracer_provider: where spans go; by default the one that the application sets, whenever it does.
    """

    def __init__(self, dsn: str = "", *, tracer_provider: TracerProvider | None = None) -> None:
        self._dsn = dsn
        self._given = tracer_provider
        self._seen: TracerProvider | None = None
        self._spans: Spans | None = None

    def adding(self, tasks: Sequence[str], spec: TaskSpec | None) -> Adding:
        """Open the span in which jobs are added: one with its spec, or a batch without."""
        spans = self._working_spans()
        return _UNTOLD_ADDING if spans is None else spans.adding(tasks, spec)

    @property
    def is_on(self) -> bool:
        """Whether spans are made at all."""
        return self._working_spans() is not None

    def processing(self, job: Job, *, worker_id: str, now: datetime) -> Processing:
        """Open the span of one attempt; it is current inside the block."""
        spans = self._working_spans()
        return _UNTOLD_PROCESSING if spans is None else spans.processing(job, worker_id, now)

    def _working_spans(self) -> Spans | None:
        # Whoever set a provider has loaded the API. Its variable, not its getter, which reads the
        # environment at each call.
        api = sys.modules.get("opentelemetry.trace")
        provider = self._given or getattr(api, "_TRACER_PROVIDER", None)
        if provider is not self._seen:
            self._seen = provider
            self._spans = None if provider is None else _spans(provider, self._dsn)
        return self._spans


def _spans(provider: TracerProvider, dsn: str) -> Spans | None:
    from kongtask.spans import spans_of  # here, for most processes trace nothing

    return spans_of(provider, dsn)
