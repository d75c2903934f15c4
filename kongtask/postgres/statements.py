"""The SQL of the package, read from files. No statement is written inside Python.

`sql/` stands at the top of the checkout and inside the installed wheel.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from kongtask.core.task_spec import is_text
from kongtask.errors import ConfigurationError, shown
from kongtask.settings import DEFAULT_SCHEMA

__all__ = ["DEFAULT_SCHEMA", "quote_schema", "sql_folder", "statement", "statement_text"]

_PACKAGE = Path(__file__).resolve().parent.parent


@cache
def sql_folder() -> Path:
    """Return the folder of the SQL files: in the wheel, else in the checkout."""
    installed = _PACKAGE / "sql"
    return installed if installed.is_dir() else _PACKAGE.parent / "sql"


def quote_schema(schema: str) -> str:
    """Return the schema's name as a quoted SQL identifier.

    >>> quote_schema('odd"name')
    '"odd""name"'
    """
    if not schema or not is_text(schema) or len(schema.encode()) > 63:
        raise ConfigurationError(
            f"schema must have 1 to 63 bytes and no NUL, got {shown(schema)}: choose a shorter name"
        )
    return '"' + schema.replace('"', '""') + '"'


def statement(name: str, schema: str) -> str:
    """Return the statement in `sql/queries/<name>.sql` for one schema."""
    return _with_schema(name, quote_schema(schema))


@cache
def statement_text(name: str) -> str:
    """Return the statement with `{schema}` where the schema's quoted name belongs.

    Comment lines are dropped, so that what reaches the server is the statement alone.
    """
    text = (sql_folder() / "queries" / f"{name}.sql").read_text(encoding="utf-8")
    return re.sub(r"^\s*--.*\n", "", text, flags=re.MULTILINE).strip()


@cache
def _with_schema(name: str, quoted: str) -> str:
    return statement_text(name).replace("{schema}", quoted)
