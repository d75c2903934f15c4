"""SQL that gives roles what a worker, or a web application that only adds jobs, needs.

It refuses to run it: whoever owns the schema should read it first. The names in it may be anything
that PostgreSQL takes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from kongtask.core.task_spec import is_text
from kongtask.errors import ConfigurationError, shown
from kongtask.postgres.statements import quote_schema, sql_folder


def roles_sql(schema: str, worker_roles: Sequence[str] = (), add_roles: Sequence[str] = ()) -> str:
    """Return the SQL that makes the roles, unless they exist, and grants what they need.

    Raises `ConfigurationError` for names that PostgreSQL cannot have.

    >>> print(roles_sql("jobs", add_roles=["web"]).splitlines()[-2:])
    ['', 'commit;']
    """
    if both := set(worker_roles) & set(add_roles):
        raise ConfigurationError(
            f"role {shown(min(both))} cannot both work and only add: choose one of the two"
        )
    quoted = quote_schema(schema)
    parts = [_script("begin", {"schema": _commented(quoted)})]
    for name, roles in (("worker", worker_roles), ("add", add_roles)):
        for role in roles:
            words = _words(quoted, role)
            parts += [_script("role", words), _script(name, words)]
    return "".join([*parts, _script("commit", {})])


def policy_name(role: str) -> str:
    """Return the name of the role's row level security policies, of any role a short one.

    >>> policy_name("shop")
    '_kongtask_8d9001d32c6a703d'
    """
    return f"_kongtask_{hashlib.sha256(role.encode()).hexdigest()[:16]}"


def _words(quoted_schema: str, role: str) -> dict[str, str]:
    quoted = _quoted_role(role)
    body = (
        f"begin if not exists (select from pg_roles where rolname = {_literal(role)}) "
        f"then create role {quoted} login; end if; end"
    )
    return {
        "schema": quoted_schema,
        "role": quoted,
        "policy": policy_name(role),
        "create_role": _literal(body),
    }


def _quoted_role(role: str) -> str:
    if not role or not is_text(role) or len(role.encode()) > 63:
        raise ConfigurationError(
            f"a role must have 1 to 63 bytes and no NUL, got {shown(role)}: choose a shorter name"
        )
    if role.startswith("pg_") or role in ("public", "none"):
        raise ConfigurationError(
            f"role {role!r} is PostgreSQL's own: name one of yours, such as shop_worker"
        )
    return '"' + role.replace('"', '""') + '"'


def _literal(text: str) -> str:
    r"""Return the text as a literal that means the same under every setting.

    >>> _literal("it's"), _literal("a\\b")
    ("'it''s'", "E'a\\\\b'")
    """
    doubled = text.replace("'", "''")
    escaped = doubled.replace("\\", "\\\\")
    return f"'{doubled}'" if escaped == doubled else f"E'{escaped}'"


def _commented(quoted: str) -> str:
    """Return a name that cannot end the comment it stands in."""
    return re.sub(r"[\r\n]", " ", quoted)


def _script(name: str, words: dict[str, str]) -> str:
    text = (sql_folder() / "roles" / f"{name}.sql").read_text(encoding="utf-8")
    return re.sub(r"\{(\w+)\}", lambda found: words[found[1]], text)
