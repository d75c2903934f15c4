"""The document and the targets, from numbers made up: the benchmark itself takes an hour."""

from __future__ import annotations

import doctest
import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks import report, targets
from benchmarks.participants import PARTICIPANTS
from benchmarks.report import COLUMNS, document, medians
from benchmarks.targets import TARGETS, judge
from benchmarks.workloads import WORKLOADS

RATE = {"added_per_second": 1000.0}
FOLDER = Path(report.__file__).parent


def numbers(**changed: dict[str, float]) -> dict[str, Any]:
    """Return results in which every number of every participant is 10, but for those given."""
    workloads = {
        name: {
            "date": "2026-01-01T00:00:00+00:00",
            "rounds": 1,
            "amounts": dict.fromkeys(workload.participants, 100),
            "failures": {},
            "runs": {
                who: [{**dict.fromkeys(COLUMNS, 10.0), **RATE, **changed.get(who, {})}]
                for who in workload.participants
            },
        }
        for name, workload in WORKLOADS.items()
    }
    return {"workloads": workloads, "participants": {}}


def test_every_target_is_measured_by_the_workloads_there_are() -> None:
    found = medians(numbers())

    unmeasured = [target.name for target in TARGETS if judge(target, found).measured is None]

    assert unmeasured == []


def test_every_number_that_is_shown_has_a_column_and_everybody_named_takes_part() -> None:
    for workload in WORKLOADS.values():
        assert set(workload.shown) <= COLUMNS.keys()
        assert set(workload.participants) <= PARTICIPANTS.keys()


@pytest.mark.parametrize(
    "ours, met",
    [(15.0, "yes"), (14.9, "**no**")],
    ids=["just enough", "just too little"],
)
def test_a_target_is_met_from_its_bound_on(ours: float, met: str) -> None:
    page = document(numbers(kongtask={"per_second": ours}))

    (line,) = re.findall(r".*no-op jobs, beside Graphile Worker, batched.*", page)
    assert line.endswith(f"| {met} |")


def test_single_rounds_tell_how_sure_a_ratio_is() -> None:
    results = numbers()
    runs = results["workloads"]["drain"]["runs"]
    for who, rates in {"kongtask": (15.0, 30.0, 20.0), "graphile": (10.0, 10.0, 20.0)}.items():
        runs[who] = [{**runs[who][0], "per_second": rate} for rate in rates]

    (line,) = re.findall(r".*no-op jobs, beside Graphile Worker, batched.*", document(results))

    assert line.endswith("| 2× | 1 to 3 | yes |")


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    page = document({})

    assert page.count("| not measured |  |  |") == len(TARGETS)


def latencies(**changed: dict[str, float]) -> list[str]:
    """Return what the table of targets says of latencies."""
    page = document(numbers(**changed))
    return re.findall(r"\| adding to starting at 1,000 jobs/s.*\| (.*?) \| .* \| .*\|", page)


def test_latency_is_judged_among_those_beside_whom_jobs_were_added_fast_enough() -> None:
    slow = {"added_per_second": 949.0, "p50_ms": 1.0, "p99_ms": 1.0}

    assert latencies() == ["1×", "1×"]
    assert latencies(kongtask=slow) == ["not measured"] * 2
    assert latencies(**{"graphile": slow, "graphile-plain": slow}) == ["not measured"] * 2
    assert latencies(graphile=slow) == ["1×", "1×"]


def test_what_stands_in_the_way_is_told_where_a_target_is_missed() -> None:
    told = "- **no-op jobs, two processes beside one**: "

    assert told in document(numbers(cli={"per_second": 10.0}))
    assert told not in document(numbers(cli={"per_second": 1.0}))


def test_a_median_is_shown_with_its_ratio_to_kongtask() -> None:
    results = numbers(graphile={"per_second": 4.0})
    results["workloads"]["drain"]["runs"]["graphile"] += [{"per_second": 5.0}, {"per_second": 9.0}]
    for run in results["workloads"]["drain"]["runs"]["graphile"]:
        run.update({name: run.get(name, 10.0) for name in COLUMNS})

    page = document(results)

    (line,) = re.findall(r"\| Graphile Worker, batched \| 5 .*", page)[:1]
    assert line.endswith("| 0.50 × | ±50 % |")


def test_an_order_that_was_lost_in_one_round_was_not_kept() -> None:
    runs = {"kongtask": [{"in_order": 1.0}, {"in_order": 0.0}, {"in_order": 1.0}]}

    assert medians({"workloads": {"one-queue": {"runs": runs}}}) == {
        "one-queue": {"kongtask": {"in_order": 0.0}}
    }


def test_who_failed_or_could_not_be_installed_is_named_with_the_reason() -> None:
    results = numbers()
    results["workloads"]["drain"]["failures"] = {"saq": "no 'handled' within 240 s"}
    results["participants"] = {"oban": {"absent": "it needs Python 3.12"}}

    page = document(results)

    assert "SAQ did not finish: no 'handled' within 240 s" in page
    assert "Oban for Python did not take part: it needs Python 3.12." in page


def test_peers_are_pinned_and_the_lock_names_no_host() -> None:
    for listed in (FOLDER / "peers").glob("*.txt"):
        lines = [line for line in listed.read_text().splitlines() if not line.startswith("#")]
        assert lines
        assert all("==" in line for line in lines), listed.name
    lock = json.loads((FOLDER / "peers" / "package-lock.json").read_text())
    assert not [name for name, each in lock["packages"].items() if "resolved" in each]


@pytest.mark.parametrize("module", [report, targets], ids=["report", "targets"])
def test_examples_run(module: Any) -> None:
    assert doctest.testmod(module).failed == 0
