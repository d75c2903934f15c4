"""Jobs and contexts that the tracing tests share; it loads no SDK."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from kongtask.core.job import Job

DSN = "postgres://kong:hunter2@db.example:5433/shop"
NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = f"00-{TRACE}-{SPAN}-01"
UNSAMPLED = f"00-{TRACE}-{SPAN}-00"


def a_job(**changes: Any) -> Job:
    """A job added two seconds before NOW, in its first attempt."""
    added = NOW - timedelta(seconds=2)
    given = {"run_at": added, "created_at": added, "updated_at": added, "attempts": 1}
    return Job(**({"id": 41872, "task_identifier": "mail"} | given | changes))
