"""Worker processes are killed and stopped: others take over, and nothing runs twice meanwhile."""

from __future__ import annotations

import random
import signal
from pathlib import Path

from fault_words import IS_LONG, add, all_done, end_well, left, let_go, working
from waiting import until
from worker_processes import HOUR, Runs, Start, now

RECOVERY = 2
"""Seconds; the default is longer."""

KILLS = 20 if IS_LONG else 4
JOBS = KILLS * 150
FLAGS = ("--poll-interval", HOUR, "--recovery-timeout", str(RECOVERY))


async def test_killing_workers_again_and_again(url: str, start: Start, runs: Runs) -> None:
    chance = random.Random(1)
    workers = [start(url, *FLAGS) for _ in range(3)]
    await working(workers)
    dead: dict[int, float] = {}
    await add(url, range(JOBS))
    for kill in range(1, KILLS + 1):
        await until(lambda: len(runs.ended()) >= kill * 100)  # noqa: B023
        victim = workers.pop(chance.randrange(len(workers)))
        victim.kill()
        dead[victim.pid] = now()
        workers.append(start(url, *FLAGS))
    await working(workers)
    await all_done(url, runs, range(JOBS))
    assert runs.overlaps(dead) == []
    cut_short = {each.number for each in runs.notes if each.pid in dead} - {
        each.number for each in runs.notes if each.pid in dead and each.what == "end"
    }
    done_unwritten = runs.repeated() - cut_short
    assert len(done_unwritten) <= 20 * KILLS  # what had ended and was not yet written
    await end_well(url, workers, KILLS)


async def test_the_jobs_of_a_killed_worker_run_within_its_recovery_time(
    url: str, start: Start, runs: Runs, tmp_path: Path
) -> None:
    first = start(url, *FLAGS)
    await working([first])
    await add(url, range(5), "hold")
    await until(lambda: all(runs.of(number) == ["start"] for number in range(5)))
    second = start(url, *FLAGS)
    await working([second])
    for number in range(5):
        if number:
            let_go(tmp_path, number)
    await until(lambda: len(runs.ended()) == 4)
    first.kill()
    killed = now()
    let_go(tmp_path, 0)
    await until(lambda: 0 in runs.ended(), RECOVERY * 2 if IS_LONG else 20)
    assert second.pid in runs.started_after(killed)
    await all_done(url, runs, range(5))
    await end_well(url, [second], 1)


async def test_a_worker_that_is_stopped_for_a_while_keeps_its_jobs(
    url: str, start: Start, runs: Runs, tmp_path: Path
) -> None:
    """Its database session shows that it lives."""
    first, second = start(url, *FLAGS), start(url, *FLAGS)
    await working([first, second])
    await add(url, range(10), "hold")
    await until(lambda: all(runs.of(number) == ["start"] for number in range(10)))
    first.signal(signal.SIGSTOP)
    stopped = now()
    for number in range(10):
        let_go(tmp_path, number)
    await until(lambda: now() - stopped > RECOVERY * 2)
    assert len(runs.ended()) == 5
    first.signal(signal.SIGCONT)
    await all_done(url, runs, range(10))
    assert runs.repeated() == set()
    await end_well(url, [first, second])


async def test_a_worker_that_is_stopped_for_long_loses_its_jobs_and_lets_go_of_them(
    url: str, start: Start, runs: Runs, tmp_path: Path
) -> None:
    first = start(url, *FLAGS)
    await working([first])
    await add(url, range(5), "hold")
    await until(lambda: all(runs.of(number) == ["start"] for number in range(5)))
    second = start(url, *FLAGS)
    await working([second])
    first.signal(signal.SIGSTOP)
    await until(lambda: all(runs.of(number) == ["start", "start"] for number in range(5)))
    first.signal(signal.SIGCONT)
    await until(lambda: [each for each in first.said("warning") if "was lost while it ran" in each])
    for number in range(5):
        let_go(tmp_path, number)
    await all_done(url, runs, range(5))
    ends = [each.pid for each in runs.notes if each.what == "end"]
    assert ends == [second.pid] * 5
    assert (await left(url))["jobs"] == 0
    await end_well(url, [first, second])
