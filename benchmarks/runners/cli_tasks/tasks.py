"""The task of the workers that are started by `kongtask worker`."""

import json
import sys
import time

from kongtask import task

told = False


@task
async def bench(payload, helpers):
    """Do nothing; say when the first job of this process starts."""
    global told
    if not told:
        told = True
        # In one piece: where output is not buffered, print would send the line's end by itself.
        sys.stdout.write(json.dumps({"event": "first", "at": time.monotonic()}) + "\n")
        sys.stdout.flush()
