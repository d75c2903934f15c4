"""Whatever stands in a crontab is read, or refused with its place: never anything else."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from hypothesis import example, given, settings
from hypothesis import strategies as st

from kongtask.core.cron.crontab import EXCERPT, CrontabError, parse_crontab
from kongtask.core.cron.schedule import next_due

NOW = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
EXAMPLES = 20_000 if os.environ.get("KONGTASK_TEST_LONG") else 300

anything = st.text(alphabet=st.characters(), max_size=30)
garbled = st.text(
    alphabet="0159*/-,? &=%@#{}:'\"[]_atfillmaxid+\t\n\r\0é٣\ufeff\u2028", max_size=60
)

number = st.one_of(st.integers(0, 70).map(str), st.sampled_from(["007", "9" * 5000, "٣", "-1"]))
name = st.sampled_from(["jan", "DEC", "mon", "Sun", "sat", "may", "L", "W", "?", "x" * 200])
value = st.one_of(number, number, name)
part = st.one_of(
    value,
    st.just("*"),
    st.builds("{}-{}".format, value, value),
    st.builds("*/{}".format, value),
    st.builds("{}-{}/{}".format, value, value, number),
    st.builds("{}/{}".format, value, value),
    st.just(""),
)
field = st.lists(part, min_size=1, max_size=3).map(",".join)
five = st.lists(field, min_size=4, max_size=6).map(" ".join)
stars = st.just("* * * * *")
macro = st.sampled_from(["@daily", "@HOURLY", "@reboot", "@", "@@daily", "@every 5m"])
task = st.one_of(st.sampled_from(["t", "a:b/c-d", "_", "1", "a.b", "t" * 129, "ü"]), anything)
zone = st.sampled_from(
    ["UTC", "Europe/Berlin", "Europe", "", "../UTC", "/etc/passwd", "a%00b", "GMT+5", "x" * 5000]
)
option = st.one_of(
    st.builds("tz={}".format, st.one_of(zone, anything)),
    st.builds("max={}".format, st.one_of(number, anything)),
    st.builds("priority=-{}".format, st.one_of(number, anything)),
    st.builds("fill={}{}".format, number, st.sampled_from("smhdwx")),
    st.builds("id={}".format, anything),
    st.builds("jobKey={}".format, anything),
    st.sampled_from(["jobKeyMode=replace", "jobKeyMode=x", "constructor=1", "=", "&", "%zz=%zz"]),
)
options = st.lists(option, max_size=3).map(lambda found: "?" + "&".join(found))
json5 = st.recursive(
    st.sampled_from(["1", "0x1F", "'a'", '"\\u0000"', "null", "NaN", "+.5", "// x", "\\", "'"]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda found: f"[{','.join(found)},]"),
        st.dictionaries(st.sampled_from(["a", "'b c'", "_cron", "1", "é"]), inner, max_size=2).map(
            lambda found: "{" + ",".join(f"{key}:{value}" for key, value in found.items()) + "}"
        ),
    ),
    max_leaves=6,
)
payload = st.one_of(json5, json5.map("{{a: {}}}".format), anything)
line = st.builds(
    "{}{}{}{}{}{}{}".format,
    st.sampled_from(["", "", "  ", "\t", "#", "\ufeff"]),
    st.one_of(five, stars, stars, macro, anything),
    st.sampled_from([" ", " ", "\t", "\xa0", ""]),
    task,
    st.one_of(st.just(""), options.map(" {}".format), options),
    st.one_of(st.just(""), payload.map(" {}".format)),
    st.sampled_from(["", "", "\r", " ", "\x0b"]),
)
crontab = st.lists(line, max_size=4).map("\n".join)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.one_of(crontab, garbled, garbled.map("* * * * * t {}".format), anything))
@example("* * * * * t " + "[" * 50_000)
@example("* * * * * t {a:" + "[" * 3_000 + "]" * 3_000 + "}")
@example("* * * * * t ?tz=" + "../" * 2_000)
@example("\ud800 * * * * t ?tz=\ud800 {a: '\ud800'}")
def test_any_text_is_read_or_refused_with_its_place(text: str) -> None:
    try:
        items = parse_crontab(text)
    except CrontabError as error:
        check_place(error, text)
    else:
        identifiers = [item.identifier for item in items]
        assert len(set(identifiers)) == len(identifiers)
        assert all(item.options.max_attempts != 0 for item in items)
        due = next_due(items, NOW)
        assert due is None or due > NOW


def check_place(error: CrontabError, text: str) -> None:
    """The place is in the text, and the excerpt shows it."""
    lines = text.removeprefix("\ufeff").split("\n")
    assert 1 <= error.line <= len(lines)
    wrong = lines[error.line - 1]
    assert 1 <= error.column <= len(wrong) + 1
    assert str(error).startswith(f"crontab line {error.line}, column {error.column}: ")
    shown, _, below = error.excerpt.rpartition("\n")
    assert shown in wrong
    assert len(shown) <= EXCERPT
    assert below.strip(" \t") == "^"
    assert len(below) <= len(shown) + 1
