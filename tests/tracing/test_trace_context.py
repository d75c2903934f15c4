"""The texts beside a job: hostile ones read as absent, good ones as W3C means them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trace_jobs import NOW, SAMPLED, SPAN, TRACE, a_job

from kongtask.core.trace_context import (
    STATE_LIMIT,
    Origin,
    Relation,
    TraceContext,
    relation,
    stored_context,
)

THIRTY_THREE = ",".join(f"k{n}=v" for n in range(33))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(None, id="null"),
        pytest.param("", id="empty"),
        pytest.param("'; drop table jobs; --", id="an injection"),
        pytest.param(SAMPLED.upper(), id="upper case"),
        pytest.param(f"00-{'0' * 32}-{SPAN}-01", id="a trace id of zeros"),
        pytest.param(f"00-{TRACE}-{'0' * 16}-01", id="a span id of zeros"),
        pytest.param(f"ff-{TRACE}-{SPAN}-01", id="the forbidden version"),
        pytest.param(f"{SAMPLED}-more", id="version 0 with more than it has"),
        pytest.param(f"{SAMPLED}\n", id="a line break at the end"),
        pytest.param(f" {SAMPLED}", id="a blank in front"),
        pytest.param(f"00-{TRACE[:-1]}-{SPAN}-01", id="a digit too few"),
        pytest.param(f"00-{TRACE}-{SPAN}-0٣", id="a digit of another script"),
        pytest.param("0" * 2_000_000, id="two megabytes"),
    ],
)
def test_a_hostile_traceparent_reads_as_absent(text: str | None) -> None:
    assert TraceContext(text, "vendor=1").origin() is None


@pytest.mark.parametrize(
    "text, flags",
    [
        pytest.param(SAMPLED, 1, id="sampled"),
        pytest.param(f"00-{TRACE}-{SPAN}-03", 3, id="sampled with a random id"),
        pytest.param(f"00-{TRACE}-{SPAN}-02", 2, id="a random id, not sampled"),
        pytest.param(f"00-{TRACE}-{SPAN}-ff", 3, id="flags nobody knows yet"),
        pytest.param(f"cc-{TRACE}-{SPAN}-01-what-the-future", 1, id="a later version"),
    ],
)
def test_flags_are_bits(text: str, flags: int) -> None:
    origin = TraceContext(text).origin()

    assert origin == Origin(trace_id=int(TRACE, 16), span_id=int(SPAN, 16), flags=flags)


@pytest.mark.parametrize(
    "text, state",
    [
        pytest.param("a=1, b=2 ,,", (("a", "1"), ("b", "2")), id="blanks and empty members"),
        pytest.param("kongtask=l,a=1", (("a", "1"),), id="our own member is taken out"),
        pytest.param("tenant@vendor=1", (("tenant@vendor", "1"),), id="a tenant's key"),
        pytest.param("a=1,a=2", (), id="a member twice"),
        pytest.param("a=1,B=2", (), id="a key in upper case"),
        pytest.param("a=1=2", (), id="a second equals sign"),
        pytest.param("a=\u00e9", (), id="not ASCII"),
        pytest.param(THIRTY_THREE, (), id="too many members"),
        pytest.param("a=" + "x" * 257, (), id="a value too long"),
        pytest.param("x" * 2_000_000, (), id="two megabytes"),
    ],
)
def test_a_hostile_tracestate_is_empty_and_keeps_the_parent(
    text: str, state: tuple[tuple[str, str], ...]
) -> None:
    origin = TraceContext(SAMPLED, text).origin()

    assert origin is not None
    assert origin.state == state


@pytest.mark.parametrize(
    "text, hint",
    [
        pytest.param(None, None, id="no state"),
        pytest.param("kongtask=l", "link", id="link"),
        pytest.param("a=1,kongtask=c", "child", id="child"),
        pytest.param("kongtask=x", None, id="a hint nobody knows"),
        pytest.param("kongtask=l,,a=1=2", None, id="beside a broken member"),
        pytest.param("mykongtask=l", None, id="another's member"),
    ],
)
def test_the_hint_is_read(text: str | None, hint: Relation | None) -> None:
    assert TraceContext(SAMPLED, text).hint() == hint


@given(st.none() | st.text(), st.none() | st.text())
def test_no_text_raises(traceparent: str | None, tracestate: str | None) -> None:
    context = TraceContext(traceparent, tracestate)

    assert context.origin() is None or traceparent is not None
    assert context.hint() in (None, "child", "link")


@pytest.mark.parametrize("bulk", [True, False])
def test_what_is_stored_reads_back(bulk: bool) -> None:
    origin = Origin(trace_id=7, span_id=8, flags=3, state=(("a", "1"), ("b", "2")))

    kept = stored_context(origin, bulk=bulk)

    assert kept.origin() == origin
    assert kept.hint() == ("link" if bulk else None)


def test_a_hint_is_not_handed_on() -> None:
    origin = Origin(trace_id=7, span_id=8, flags=1, state=(("kongtask", "l"), ("a", "1")))

    assert stored_context(origin).tracestate == "a=1"


def test_the_state_is_kept_in_whole_members_up_to_its_limit() -> None:
    members = tuple((f"k{n}", "v" * 100) for n in range(10))

    kept = stored_context(Origin(trace_id=7, span_id=8, flags=1, state=members), bulk=True)

    assert kept.tracestate is not None
    assert len(kept.tracestate) <= STATE_LIMIT
    assert kept.tracestate == "kongtask=l," + ",".join(f"k{n}={'v' * 100}" for n in range(4))


def test_the_state_is_kept_up_to_thirty_two_members() -> None:
    members = tuple((f"k{n}", "v") for n in range(32))

    kept = stored_context(Origin(trace_id=7, span_id=8, flags=1, state=members), bulk=True)

    origin = kept.origin()
    assert origin is not None
    assert origin.state == members[:31]
    assert kept.hint() == "link"


@pytest.mark.parametrize(
    "hint, changes, expected",
    [
        pytest.param(None, {}, "child", id="a first attempt, soon"),
        pytest.param(None, {"attempts": 2}, "link", id="a retry"),
        pytest.param(None, {"revision": 1}, "link", id="replaced by its key"),
        pytest.param(None, {"created_at": NOW - timedelta(seconds=60)}, "child", id="in time"),
        pytest.param(None, {"created_at": NOW - timedelta(seconds=61)}, "link", id="late"),
        pytest.param(None, {"created_at": NOW + timedelta(hours=1)}, "child", id="clocks differ"),
        pytest.param("link", {}, "link", id="asked for a link"),
        pytest.param("child", {"attempts": 9}, "child", id="asked for a child"),
    ],
)
def test_what_an_attempt_is_to_its_producer(
    hint: Relation | None, changes: dict[str, object], expected: str
) -> None:
    assert relation(a_job(**changes), hint, NOW) == expected
