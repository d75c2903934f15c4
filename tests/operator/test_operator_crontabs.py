"""Which crontab of a pool is followed."""

from __future__ import annotations

from operator_words import KEY, pool, spec

from kongtask.operator.crontabs import Crontabs


def test_a_pool_without_a_crontab_has_no_items() -> None:
    state = Crontabs().state(pool())

    assert (state.entries, state.problem) == (0, None)


def test_a_mistake_is_named_and_the_crontab_before_it_followed_on() -> None:
    crontabs = Crontabs()
    crontabs.state(pool(spec(crontab="0 4 * * * clean\n0 5 * * * report")))

    state = crontabs.state(pool(spec(crontab="61 * * * * clean")))

    assert state.entries == 2
    assert state.problem is not None
    assert state.problem.reason == "ParseError"
    assert "line 1, column 1: minute 61 is out of range" in state.problem.message


def test_a_corrected_crontab_is_followed() -> None:
    crontabs = Crontabs()
    crontabs.state(pool(spec(crontab="61 * * * * clean")))

    state = crontabs.state(pool(spec(crontab="0 4 * * * clean")))

    assert (state.entries, state.problem) == (1, None)


def test_a_pool_that_is_gone_leaves_no_crontab_behind() -> None:
    crontabs = Crontabs()
    crontabs.state(pool(spec(crontab="0 4 * * * clean")))
    crontabs.forget(KEY)

    assert crontabs.state(pool(spec(crontab="61 * * * * clean"))).entries == 0
