"""What an exception says leaves the process bounded, storable and without passwords."""

from __future__ import annotations

import pytest

from kongtask.core.redaction import TEXT_LIMIT, Redaction, shortened

DSN = "postgres://kong:p%40ss-w0rd@db/shop?password=other7"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("cannot open postgres://kong:p%40ss-w0rd@db/shop", id="the connection string"),
        pytest.param("no: p%40ss-w0rd!", id="the password as it is written"),
        pytest.param("user kong, p@ss-w0rd", id="the password as it is meant"),
        pytest.param("('kong', 'p@ss-w0rd')", id="in a repr"),
        pytest.param("tried other7.", id="the password in the query"),
        pytest.param("x" * 70_000 + " p@ss-w0rd " + "x" * 70_000, id="inside a long text"),
        pytest.param("x" * (TEXT_LIMIT // 2 - 12) + " p@ss-w0rd " + "x" * 9000, id="at the cut"),
    ],
)
def test_the_password_of_the_connection_string_is_hidden(text: str) -> None:
    shown = Redaction(DSN).text(text)

    for secret in ("p%40ss", "p@ss", "w0rd", "other7"):
        assert secret not in shown


@pytest.mark.parametrize(
    "text, shown",
    [
        pytest.param("redis://:tops3cret@r/0", "redis://:***@r/0", id="without a user"),
        pytest.param("a://u:p@ss@h/x b://v:q@i", "a://u:***@h/x b://v:***@i", id="two of them"),
        pytest.param(
            "host=db password=tops3cret user=x", "host=db password=*** user=x", id="libpq"
        ),
        pytest.param("password = 'a b'", "password = ***", id="quoted"),
        pytest.param('{"password": "tops3cret"}', '{"password": ***}', id="json"),
        pytest.param("http://jaeger:4317/x failed", "http://jaeger:4317/x failed", id="no secret"),
        pytest.param("a password is wanted", "a password is wanted", id="only the word"),
    ],
)
def test_passwords_of_others_are_hidden_where_they_show(text: str, shown: str) -> None:
    assert Redaction().text(text) == shown


def test_a_connection_string_that_cannot_be_read_is_a_secret_as_a_whole() -> None:
    assert Redaction("postgres://me:pw@[").text("got postgres://me:pw@[") == "got ***"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("é" * 100_000, id="two bytes a character"),
        pytest.param("a" * 5_000_000, id="five megabytes"),
        pytest.param("://" * 100_000, id="much that begins like a secret"),
    ],
)
def test_a_text_is_bounded(text: str) -> None:
    assert len(Redaction(DSN).text(text).encode()) <= TEXT_LIMIT


def test_both_ends_of_a_long_text_stay() -> None:
    assert shortened("begin" + "-" * 100 + "end", 25) == "begin----- … -------end"


def test_lone_surrogates_and_zeros_can_be_encoded() -> None:
    assert Redaction().text("a\ud800b\0").encode() == b"a\\ud800b\0"


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    "error, said",
    [
        pytest.param(ValueError("no such address"), "no such address", id="its message"),
        pytest.param(KeyError(), "KeyError", id="its class without one"),
        pytest.param(Mute(), "test_redaction.Mute", id="its class when it cannot speak"),
    ],
)
def test_what_an_exception_says(error: BaseException, said: str) -> None:
    assert Redaction().message(error) == said
