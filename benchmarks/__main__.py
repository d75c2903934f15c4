"""Runs what is asked for, round by round, and writes the numbers, the plots and the document."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.environments import CACHE, ROOT, Environments, NotInstalled
from benchmarks.laboratory import Laboratory, laboratory
from benchmarks.machine import facts, revision
from benchmarks.participants import PARTICIPANTS, Participant
from benchmarks.report import document
from benchmarks.running import RunFailed
from benchmarks.server import SETTINGS, durable_server
from benchmarks.workloads import WORKLOADS, Workload, turns

QUICK = 0.1
FULL_ROUNDS, QUICK_ROUNDS = 5, 3
PUBLISHED = ROOT / "docs"

Results = dict[str, Any]


def main() -> None:
    """Do what the command line says."""
    given = _arguments().parse_args()
    for stop in (signal.SIGINT, signal.SIGTERM):  # so that nothing is left running
        signal.signal(stop, lambda *_: sys.exit(130))
    output = given.output or (PUBLISHED if _is_publishable(given) else CACHE / "results")
    results = _read(output)
    if given.report and not results:
        sys.exit(f"nothing was measured yet: {output} has no performance/results.json")
    if not given.report:
        _measure(given, results, output)
    _write(results, output)
    print(f"written: {output / 'performance.md'}", file=sys.stderr)


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = ", ".join(WORKLOADS)
    parser.add_argument(
        "--only", type=_listed(WORKLOADS), help=f"workloads, separated by commas: {names}"
    )
    parser.add_argument(
        "--participants", type=_listed(PARTICIPANTS), help=f"of: {', '.join(PARTICIPANTS)}"
    )
    parser.add_argument(
        "--rounds", type=_above_zero(int), help="rounds [default: 5, with --quick 3]"
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the jobs")
    parser.add_argument(
        "--scale", type=_above_zero(float), help="this part of the jobs; 0.01 to try it out"
    )
    parser.add_argument(
        "--output", type=Path,
        help="folder to write to [default: docs after a full run, else .kongtask/benchmarks/"
        "results]; workloads that are there and not run now are kept",
    )  # fmt: skip
    parser.add_argument(
        "--report", action="store_true", help="write the document anew, run nothing"
    )
    return parser


def _listed(known: Mapping[str, object]) -> Callable[[str], list[str]]:
    def read(text: str) -> list[str]:
        names = [each.strip() for each in text.split(",") if each.strip()]
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        return names

    return read


def _above_zero(kind: Callable[[str], float]) -> Callable[[str], float]:
    def read(text: str) -> float:
        number = kind(text)
        if not number > 0:
            raise argparse.ArgumentTypeError(f"{text!r} is not above 0")
        return number

    read.__name__ = kind.__name__  # what argparse calls a text that is no number
    return read


def _is_publishable(given: argparse.Namespace) -> bool:
    reduced = given.quick or given.scale or given.participants or given.rounds or given.only
    return not reduced or given.report


def _measure(given: argparse.Namespace, results: Results, output: Path) -> None:
    scale = given.scale or (QUICK if given.quick else 1.0)
    rounds = given.rounds or (QUICK_ROUNDS if given.quick else FULL_ROUNDS)
    with durable_server() as url, laboratory(url) as lab:
        machine, measured_at = facts(lab.admin), revision()
        results["machine"] = {**machine, "settings": SETTINGS}
        for name in given.only or WORKLOADS:
            workload = WORKLOADS[name]
            taking_part = _taking_part(lab, workload, given.participants, results)
            measured = _rounds(lab, name, taking_part, scale, rounds)
            measured |= {
                "commit_us": machine["commit_us"], "revision": measured_at,
                "processor": machine["processor"],
            }  # fmt: skip
            results.setdefault("workloads", {})[name] = measured
            lab.forget()
            _save(results, output)


def _taking_part(
    lab: Laboratory, workload: Workload, asked: Sequence[str] | None, results: Results
) -> list[str]:
    """Return who can be measured; note the version of each, or why it cannot."""
    able = []
    for key in workload.participants:
        if asked and key not in asked:
            continue
        known = results.setdefault("participants", {}).setdefault(key, {})
        try:
            lab.environments.command(PARTICIPANTS[key])
            _check_flag(PARTICIPANTS[key])
            known["version"] = lab.environments.versions(PARTICIPANTS[key])
            known.pop("absent", None)
            able.append(key)
        except NotInstalled as error:
            known["absent"] = str(error)
            print(f"{key} does not take part: {error}", file=sys.stderr)
    return able


def _check_flag(participant: Participant) -> None:
    if participant.flag is None:
        return
    words = [sys.executable, "-m", "kongtask", "worker", "--help"]
    told = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT).stdout
    if participant.flag not in told:
        raise NotInstalled(f"`kongtask worker` has no {participant.flag}")


def _rounds(
    lab: Laboratory, name: str, taking_part: list[str], scale: float, rounds: int
) -> dict[str, Any]:
    """Measure everybody once, then everybody again, in another order."""
    workload = WORKLOADS[name]
    amounts = {key: workload.amount(key, scale) for key in taking_part}
    measured: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "rounds": rounds,
        "amounts": amounts,
        "load": [],
        "runs": {key: [] for key in taking_part},
        "failures": {},
    }
    begun = time.monotonic()
    for number, key in turns(taking_part, rounds):
        if len(measured["load"]) < number:
            measured["load"].append(round(os.getloadavg()[0], 2))
        if key in measured["failures"]:
            continue
        try:
            found = workload.measure(lab, PARTICIPANTS[key], amounts[key])
        except RunFailed as error:
            measured["failures"][key] = str(error)
            print(f"{name} {number}/{rounds} {key}: failed: {error}", file=sys.stderr)
            continue
        measured["runs"][key].append(found)
        shown = " ".join(f"{each}={found[each]:.4g}" for each in workload.shown if each in found)
        print(f"{name} {number}/{rounds} {key}: {shown}", file=sys.stderr)
    measured["took_seconds"] = round(time.monotonic() - begun, 1)
    return measured


def _read(output: Path) -> Results:
    path = output / "performance" / "results.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def _save(results: Results, output: Path) -> None:
    folder = output / "performance"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")


def _write(results: Results, output: Path) -> None:
    _save(results, output)
    plots = _plots(output)
    (output / "performance.md").write_text(document(results, plots))


def _plots(output: Path) -> list[str]:
    """Draw what was measured; return the names of the pictures, none where that cannot be."""
    script = Path(__file__).with_name("plots.py")
    folder = output / "performance"
    try:
        python = Environments().python("plots")
    except NotInstalled as error:
        print(f"no plots: {error}", file=sys.stderr)
        return []
    titles = {key: {"title": each.title, "shown": each.shown[0]} for key, each in WORKLOADS.items()}
    names = {key: each.name.replace("`", "") for key, each in PARTICIPANTS.items()}
    words = [str(python), str(script), str(folder), json.dumps(titles), json.dumps(names)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return done.stdout.split()


if __name__ == "__main__":
    main()
