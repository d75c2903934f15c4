"""The same task as tasks/note.js."""

from __future__ import annotations

import json
from typing import Any

from kongtask import task


@task
async def note(payload: Any, helpers: Any) -> None:
    """Write down what it was given, and who ran it."""
    await helpers.pool.execute(
        "insert into notes (runner, payload, key) values ('python', $1::text::json, $2)",
        json.dumps(payload),
        helpers.job.key,
    )
