"""Events reach who listens, in order, and nobody who listens does harm."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import pytest
from waiting import until
from worker_words import Lines

from kongtask import EventBus


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def bus(lines: Lines) -> EventBus:
    return EventBus(lines)


def test_a_handler_hears_its_event_and_no_other(bus: EventBus) -> None:
    heard: list[object] = []
    bus.on("a", heard.append)
    bus.emit("a", 1)
    bus.emit("b", 2)
    bus.emit("a")
    assert heard == [1, None]


def test_a_star_hears_everything_in_order(bus: EventBus) -> None:
    heard: list[object] = []
    bus.on("*", lambda event, data: heard.append((event, data)))
    for n in range(3):
        bus.emit(f"event {n}", n)
    assert heard == [("event 0", 0), ("event 1", 1), ("event 2", 2)]


async def test_a_coroutine_function_may_hear_everything(bus: EventBus) -> None:
    heard: list[object] = []

    async def hear(event: str, data: object) -> None:
        heard.append((event, data))

    bus.on("*", hear)
    bus.emit("a", 1)
    bus.emit("b", 2)
    await bus.settle()
    assert heard == [("a", 1), ("b", 2)]


def test_handlers_hear_in_the_order_in_which_they_came(bus: EventBus) -> None:
    heard: list[str] = []
    bus.on("a", lambda _: heard.append("first"))
    bus.on("*", lambda event, data: heard.append("second"))
    bus.on("a", lambda _: heard.append("third"))
    bus.emit("a")
    assert heard == ["first", "second", "third"]


def test_a_handler_that_went_hears_nothing(bus: EventBus) -> None:
    heard: list[object] = []
    bus.on("a", heard.append)
    bus.off("a", heard.append)
    bus.off("a", heard.append)
    bus.off("b", print)
    bus.emit("a", 1)
    assert heard == []


def test_a_handler_may_go_while_it_hears(bus: EventBus) -> None:
    heard: list[object] = []

    def once(data: object) -> None:
        heard.append(data)
        bus.off("a", once)

    bus.on("a", once)
    bus.on("a", heard.append)
    bus.emit("a", 1)
    bus.emit("a", 2)
    assert heard == [1, 1, 2]


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1)], ids=["error", "exit"])
def test_a_handler_that_raises_is_logged_and_harms_nobody(
    bus: EventBus, lines: Lines, error: BaseException
) -> None:
    heard: list[object] = []

    def fail(_: object) -> None:
        raise error

    bus.on("a", fail)
    bus.on("a", heard.append)
    bus.emit("a", 1)
    assert heard == [1]
    [(level, message, facts)] = lines.lines
    assert (level, message) == ("error", f"a handler of a raised {error!r}")
    assert facts["exception"] is error


async def test_coroutine_handlers_of_every_kind_hear_in_order(bus: EventBus) -> None:
    heard: list[tuple[str, int]] = []

    async def note(name: str, data: int) -> None:
        await asyncio.sleep(0)
        heard.append((name, data))

    class Noting:
        async def __call__(self, data: int) -> None:
            await note("object", data)

    async def plain(data: int) -> None:
        await note("function", data)

    kinds: dict[str, Any] = {
        "function": plain,
        "object": Noting(),
        "partial": functools.partial(note, "partial"),
        "lambda": lambda data: note("lambda", data),
    }
    for handler in kinds.values():
        bus.on("a", handler)
    for n in range(3):
        bus.emit("a", n)
    assert heard == []
    await bus.settle()
    for name in kinds:
        assert [data for each, data in heard if each == name] == [0, 1, 2]


@pytest.mark.parametrize(
    "error",
    [ValueError("no"), SystemExit(1), asyncio.CancelledError("itself")],
    ids=["error", "exit", "its own cancellation"],
)
async def test_a_coroutine_handler_that_raises_hears_the_next_event(
    bus: EventBus, lines: Lines, error: BaseException
) -> None:
    heard: list[int] = []

    async def fail_once(data: int) -> None:
        heard.append(data)
        if data == 0:
            raise error

    bus.on("a", fail_once)
    bus.emit("a", 0)
    bus.emit("a", 1)
    await bus.settle()
    assert heard == [0, 1]
    assert lines.said(f"a handler of a raised {error!r}")


async def test_a_slow_handler_keeps_nobody_waiting(bus: EventBus, lines: Lines) -> None:
    go = asyncio.Event()
    heard: list[object] = []

    async def slow(_: object) -> None:
        await go.wait()
        heard.append("slow")

    bus.on("a", slow)
    bus.on("a", lambda _: heard.append("quick"))
    bus.emit("a")
    assert heard == ["quick"]
    await bus.settle(patience=0.01)
    assert lines.said("event handlers did not finish in time")
    bus.off("a", slow)
    await bus.settle()
    assert heard == ["quick"]


async def test_a_coroutine_handler_may_let_itself_go(bus: EventBus) -> None:
    heard: list[int] = []

    async def once(data: int) -> None:
        heard.append(data)
        bus.off("a", once)

    bus.on("a", once)
    bus.emit("a", 1)
    await until(lambda: heard)
    bus.emit("a", 2)
    await bus.settle()
    assert heard == [1]


def test_emitting_to_a_coroutine_without_a_loop_is_logged(bus: EventBus, lines: Lines) -> None:
    async def hear(_: object) -> None:
        return None

    bus.on("a", hear)
    bus.emit("a")
    assert lines.said("no running event loop")
