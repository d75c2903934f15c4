"""The trace that a job was added in, as two texts beside the job, and what its attempts owe to it.

The texts follow W3C's Trace Context. They may come from anybody who can write a row, so what breaks
the rules reads as absent; nothing in here raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from kongtask.core.job import Job

Relation = Literal["child", "link"]

CHILD_WINDOW = timedelta(seconds=60)
"""How soon after it was added a job must start to stay in the trace that added it."""

FAN_OUT = 10
"""Up to how many jobs added at once stay in that trace; more begin a trace each."""

STATE_LIMIT = 512
"""Characters of tracestate that are kept: what W3C asks everybody to pass on."""

_HINT = "kongtask"
_HINTS: dict[str | None, Relation] = {"c": "child", "l": "link"}
_MAX_MEMBERS = 32
_MAX_STATE = 8192
_KNOWN_FLAGS = 0x03
_TRACEPARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)
_MEMBER = re.compile(
    r"([a-z][_0-9a-z*/-]{0,255}|[a-z0-9][_0-9a-z*/-]{0,240}@[a-z][_0-9a-z*/-]{0,13})"
    r"=([\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e])"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The span that added a job. `flags` are bits: 1 sampled, 2 random trace id."""

    trace_id: int
    span_id: int
    flags: int
    state: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class TraceContext:
    """The two texts that are kept with a job.

    >>> TraceContext("00-" + "a" * 32 + "-" + "b" * 16 + "-03").origin().flags
    3
    >>> TraceContext("'; drop table jobs").origin() is None
    True
    """

    traceparent: str | None = None
    tracestate: str | None = None

    def origin(self) -> Origin | None:
        """Return the span that added the job, or None when the texts do not say."""
        found = _TRACEPARENT.fullmatch(self.traceparent) if self.traceparent else None
        if found is None:
            return None
        version, trace_id, span_id, flags, more = found.groups()
        if version == "00" and more:
            return None
        members = _members(self.tracestate) if self.tracestate else {}
        return Origin(
            trace_id=int(trace_id, 16),
            span_id=int(span_id, 16),
            flags=int(flags, 16) & _KNOWN_FLAGS,
            state=tuple(pair for pair in members.items() if pair[0] != _HINT) if members else (),
        )

    def hint(self) -> Relation | None:
        """Return what whoever added the job wishes its attempts to be."""
        state = self.tracestate or ""
        return _HINTS.get(_members(state).get(_HINT)) if _HINT in state else None


ABSENT = TraceContext()


def stored_context(origin: Origin, *, bulk: bool = False) -> TraceContext:
    """Return the texts to keep with a job; those of a bulk ask for a trace each.

    >>> stored_context(Origin(trace_id=10, span_id=11, flags=1), bulk=True).traceparent
    '00-0000000000000000000000000000000a-000000000000000b-01'
    """
    state = ",".join(_within_limit(origin.state, f"{_HINT}=l" if bulk else ""))
    return TraceContext(
        f"00-{origin.trace_id:032x}-{origin.span_id:016x}-{origin.flags:02x}", state or None
    )


def relation(job: Job, hint: Relation | None, now: datetime) -> Relation:
    """Decide what an attempt is to the span that added its job."""
    if hint is not None:
        return hint
    first = job.attempts <= 1 and job.revision == 0
    return "child" if first and now - job.created_at <= CHILD_WINDOW else "link"


def _within_limit(state: Iterable[tuple[str, str]], first: str) -> list[str]:
    """Return whole members, the newest first, as many as there is room for."""
    kept = [first] if first else []
    room = STATE_LIMIT - len(first)
    for member in (f"{key}={value}" for key, value in state if key != _HINT):
        room -= len(member) + 1
        if room < 0 or len(kept) == _MAX_MEMBERS:
            break
        kept.append(member)
    return kept


def _members(state: str) -> dict[str, str]:
    """Return the members of a tracestate; none when any of it breaks the rules."""
    if len(state) > _MAX_STATE:
        return {}
    texts = [text.strip(" \t") for text in state.split(",")]
    found = [_MEMBER.fullmatch(text) for text in texts if text]
    members = {match[1]: match[2] for match in found if match is not None}
    return members if len(members) == len(found) <= _MAX_MEMBERS else {}
