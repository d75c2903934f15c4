"""What a folder says should run: the pool of a manifest and the code of its tasks, read together.

A pool is handed on only when its modules import, so that an edit that fails replaces nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from kongtask.clock import Clock
from kongtask.dev.code import Stamps, TaskCode, check_code, stamps
from kongtask.dev.environment import pool_environment, unresolved, with_code
from kongtask.dev.manifest_file import ManifestFile, read_manifest_file
from kongtask.operator.model import Pool


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A manifest and its code as they were read. `notes`: what of the manifest plays no part."""

    pool: Pool
    code: TaskCode
    notes: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class Project:
    """The manifest, the folder and the environment that `kongtask dev` was started with."""

    manifest_path: Path
    folder: Path
    environment: Mapping[str, str] = field(repr=False)
    uri: str = field(repr=False)
    clock: Clock
    _seen: Stamps = ()
    _files: tuple[Path, ...] = ()
    _generation: int = 0

    async def read(self) -> Reading:
        """Return what stands there now; raises `ConfigurationError` for what cannot work."""
        # The moment before reading counts: what is saved meanwhile is read again.
        before = self._seen = self._now()
        found = read_manifest_file(self.manifest_path)
        code = await self._check(found.pool)
        if code.files != self._files:
            self._files = code.files
            self._seen = (before[0], *stamps(code.files))
        self._generation += 1
        pool = replace(found.pool, generation=self._generation, created_at=self.clock.now())
        return Reading(
            pool=with_code(pool, code.fingerprint()),
            code=code,
            notes=tuple(_notes(found, self.environment)),
        )

    @property
    def changed(self) -> bool:
        """Whether the manifest or a file of the tasks changed since it was last read."""
        return self._now() != self._seen

    def _now(self) -> Stamps:
        return stamps((self.manifest_path, *self._files))

    async def _check(self, pool: Pool) -> TaskCode:
        # Modules may make an engine of the database's name when they are imported.
        environment = pool_environment(pool, self.uri, self.environment)
        return await check_code(pool.spec.modules, self.folder, environment)


def _notes(found: ManifestFile, environment: Mapping[str, str]) -> Iterator[str]:
    spec = found.pool.spec
    yield f"image {spec.image} and Secret {spec.secret.name} play no part here"
    if found.ignored:
        yield f"left alone: {', '.join(found.ignored)}"
    yield from unresolved(found.pool, environment)
