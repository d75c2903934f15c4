"""The task of the workers that are started by `kongtask worker`."""

import json
import time

from kongtask import task

told = False


@task
async def bench(payload, helpers):
    """Do nothing; say when the first job of this process starts."""
    global told
    if not told:
        told = True
        print(json.dumps({"event": "first", "at": time.monotonic()}), flush=True)
