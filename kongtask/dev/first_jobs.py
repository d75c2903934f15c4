"""Jobs that are added once the schema is there, so that there is something to see."""

from __future__ import annotations

from collections.abc import Sequence

from kongtask.core.new_job import payload_from
from kongtask.dev.telling import Say
from kongtask.errors import ConfigurationError, InvalidJob
from kongtask.worker_utils import WorkerUtils

NewJobs = tuple[tuple[str, object], ...]


def read_first_jobs(given: Sequence[tuple[str, str]], tasks: Sequence[str]) -> NewJobs:
    """Return the jobs with their payloads parsed; raises `ConfigurationError`.

    >>> read_first_jobs([("greet", "{name}")], ["greet"])
    Traceback (most recent call last):
    kongtask.errors.ConfigurationError: --add greet: the payload is not JSON (Expecting property \
name enclosed in double quotes: line 1 column 2 (char 1)), got '{name}': write it for the shell as \
'{"key": "value"}'
    """
    return tuple((_known(task, tasks), _parsed(task, payload)) for task, payload in given)


def _known(task: str, tasks: Sequence[str]) -> str:
    if task not in tasks:
        raise ConfigurationError(f"--add {task}: no such task, there are {', '.join(tasks)}")
    return task


def _parsed(task: str, payload: str) -> object:
    try:
        return payload_from(payload)
    except InvalidJob as error:
        raise ConfigurationError(f"--add {task}: {error}") from error


async def add_first_jobs(uri: str, schema: str, jobs: NewJobs, say: Say) -> None:
    """Add the jobs in their order; raises `StoreUnavailable`."""
    async with await WorkerUtils.connect(uri, schema) as utils:
        added = [await utils.add_job(task, payload) for task, payload in jobs]
    say(f"added {', '.join(f'job {job.id} ({job.task_identifier})' for job in added)}")
