"""Reads the one KongTaskPool that a file holds, in the words of the API server where it is wrong.

It refuses to guess: a file with two pools is an error, other documents are named and left alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kongtask.errors import ConfigurationError
from kongtask.operator.manifest import API_VERSION, KIND, pool_from_manifest
from kongtask.operator.model import Pool


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestFile:
    """The pool of a file, and what else stood there."""

    pool: Pool
    ignored: tuple[str, ...] = ()


def read_manifest_file(path: Path) -> ManifestFile:
    """Return the pool in a file; raises `ConfigurationError` with the place of what is wrong."""
    documents = parse_documents(_text(path), path.name)
    pools = [each for each in documents if each.get("kind") == KIND]
    if len(pools) > 1:
        names = ", ".join(str(_name(each)) for each in pools)
        raise ConfigurationError(f"{path.name} holds {len(pools)} pools ({names}): keep one a file")
    if not pools:
        kinds = ", ".join(str(each.get("kind")) for each in documents) or "nothing"
        raise ConfigurationError(
            f"{path.name} holds no {KIND} but {kinds}: "
            f"write apiVersion: {API_VERSION} and kind: {KIND}"
        )
    others = [each for each in documents if each is not pools[0]]
    ignored = tuple(f"{each.get('kind')} {_name(each)}" for each in others)
    return ManifestFile(pool=_pool(pools[0], path.name), ignored=ignored)


def parse_documents(text: str, name: str) -> list[Mapping[str, Any]]:
    """Return the documents of a YAML text, empty ones left out.

    >>> parse_documents("kind: [A", "pool.yaml")
    Traceback (most recent call last):
    kongtask.errors.ConfigurationError: pool.yaml, line 1, column 9: expected ',' or ']', but got \
'<stream end>': correct the YAML there
    """
    try:
        documents = [each for each in yaml.safe_load_all(text) if each is not None]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigurationError(
            f"{name}{where}: {error.problem or error.context}: correct the YAML there"
        ) from error
    except yaml.YAMLError as error:
        said = str(error).splitlines()[0]
        raise ConfigurationError(f"{name} is not YAML: {said}: correct it") from error
    for each in documents:
        if not isinstance(each, dict):
            raise ConfigurationError(
                f"{name} holds a {type(each).__name__} where a manifest should be: "
                f"write apiVersion: {API_VERSION} and kind: {KIND}"
            )
    return documents


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} is not a text file: name a manifest") from error
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read: {error.strerror}: name the manifest of a {KIND}"
        ) from error


def _name(document: Mapping[str, Any]) -> object:
    metadata = document.get("metadata")
    return metadata.get("name") if isinstance(metadata, dict) else None


def _pool(document: Mapping[str, Any], name: str) -> Pool:
    found = _name(document)
    if not isinstance(found, str):
        raise ConfigurationError(
            f"{name}: metadata.name must be a text, got {found!r}: give the pool a name"
        )
    wish = {key: each for key, each in document.items() if key != "status"}
    try:
        return pool_from_manifest(wish)
    except ConfigurationError as error:
        raise ConfigurationError(f"{name}: {error}") from error
