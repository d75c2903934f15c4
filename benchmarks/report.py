"""Writes docs/performance.md from the results. Pure: results in, text out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.participants import PARTICIPANTS
from benchmarks.targets import OURS, TARGETS, Verdict, judge
from benchmarks.workloads import WORKLOADS, Workload

Results = Mapping[str, Any]

ALWAYS = ("in_order", "kept_up")
"""What must have held in every round, and not in most."""

COLUMNS = {
    "per_second": ("jobs/s", "{:,.0f}"),
    "wal_bytes_per_job": ("WAL, bytes/job", "{:,.0f}"),
    "transactions_per_job": ("transactions/job", "{:.3f}"),
    "processor_us_per_job": ("processor, µs/job", "{:,.0f}"),
    "machine_share": ("all cores busy, %", "{:.0f}"),
    "p50_ms": ("p50, ms", "{:.2f}"),
    "p99_ms": ("p99, ms", "{:.2f}"),
    "p999_ms": ("p99.9, ms", "{:.2f}"),
    "add_p50_ms": ("adding alone, p50, ms", "{:.2f}"),
    "added_per_second": ("added/s", "{:,.0f}"),
    "processor_share": ("processor, % of a core", "{:.2f}"),
    "kept_up": ("kept up", "{}"),
    "in_order": ("in order", "{}"),
    "memory_mib": ("memory, MiB", "{:.0f}"),
    "tenth_mib": ("with a tenth, MiB", "{:.0f}"),
    "growth_mib": ("growth, MiB", "{:.1f}"),
    "transactions_per_second": ("transactions/s", "{:.2f}"),
    "seconds": ("s", "{:.3f}"),
}

HEAD = """# Performance

Made by the benchmark from [results.json](performance/results.json). How it is measured, and why
that is fair, stands in [benchmarks/README.md](../benchmarks/README.md).

Read the ratios: those of one table come from one run on one machine, everybody in turn, and carry
over better than jobs a second do. Tables may come from several runs, and from several machines of
the same size: below each title stands which revision was measured, when, on which processor, how
much of a full run it was, how long a commit took then, and who was left out of it. Beside what the
medians say stands what single rounds say, from least to most.
"""


def document(results: Results, plots: Sequence[str] = ()) -> str:
    """Return the page."""
    parts = [HEAD, _machine(results), _targets(results), *_workloads(results, plots)]
    return "\n".join([*parts, _taking_part(results)])


def medians(results: Results) -> dict[str, dict[str, dict[str, float]]]:
    """Return the median of every number; the worst of those that must always hold.

    >>> runs = {"us": [{"per_second": 1.0}, {"per_second": 9.0}, {"per_second": 5.0}]}
    >>> medians({"workloads": {"drain": {"runs": runs}}})
    {'drain': {'us': {'per_second': 5.0}}}
    """
    return {
        name: {who: _middle(runs) for who, runs in workload["runs"].items() if runs}
        for name, workload in results.get("workloads", {}).items()
    }


def rounds(results: Results) -> list[dict[str, dict[str, dict[str, float]]]]:
    """Return the numbers of each round: those who were measured one after the other in it.

    >>> runs = {"us": [{"per_second": 1.0}, {"per_second": 9.0}], "them": [{"per_second": 2.0}]}
    >>> for each in rounds({"workloads": {"drain": {"runs": runs}}}):
    ...     print(each["drain"])
    {'us': {'per_second': 1.0}, 'them': {'per_second': 2.0}}
    {'us': {'per_second': 9.0}}
    """
    workloads = results.get("workloads", {})
    counts = [len(runs) for one in workloads.values() for runs in one["runs"].values()]
    return [
        {
            name: {who: runs[at] for who, runs in one["runs"].items() if at < len(runs)}
            for name, one in workloads.items()
        }
        for at in range(max(counts, default=0))
    ]


def _middle(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    numbers = {key: [run[key] for run in runs] for key in runs[0]}
    return {key: min(each) if key in ALWAYS else median(each) for key, each in numbers.items()}


def _machine(results: Results) -> str:
    machine = results.get("machine", {})
    if not machine:
        return ""
    settings = machine["settings"]
    told = ", ".join(f"`{name} = {settings[name]}`" for name in settings if name[:6] != "listen")
    return (
        f"Last measured on {machine['cores']} cores of {machine['processor']}, "
        f"{machine['memory_gib']} GiB of memory, {machine['system']}; Python {machine['python']}, "
        f"Node.js {machine['node']}; PostgreSQL {machine['postgresql']} on the same machine; "
        f"{told}.\n"
    )


def _targets(results: Results) -> str:
    found, singles = medians(results), rounds(results)
    verdicts = [judge(target, found, singles) for target in TARGETS]
    heads = ("", "target", "measured", "in single rounds", "met")
    table = _table(heads, map(_target_row, verdicts))
    missed = [
        f"- **{each.target.name}**: {each.target.hindrance}\n"
        for each in verdicts
        if each.met is False and each.target.hindrance
    ]
    why = "\n### What stands in the way\n\n" + "".join(missed) if missed else ""
    return "## Targets\n\n" + table + why


def _target_row(verdict: Verdict) -> tuple[str, ...]:
    target, measured = verdict.target, verdict.measured
    shown = "not measured" if measured is None else f"{measured:.3g}{target.unit}"
    met = {True: "yes", False: "**no**", None: ""}[verdict.met]
    return target.name, target.bound, shown, _range(verdict), met


def _range(verdict: Verdict) -> str:
    if verdict.least is None or verdict.most is None:
        return ""
    return f"{verdict.least:.3g} to {verdict.most:.3g}"


def _workloads(results: Results, plots: Sequence[str]) -> Iterable[str]:
    found = medians(results)
    for name, workload in WORKLOADS.items():
        if measured := results.get("workloads", {}).get(name):
            yield _workload(name, workload, measured, found[name], plots)


def _workload(
    name: str,
    workload: Workload,
    measured: Mapping[str, Any],
    found: Mapping[str, Mapping[str, float]],
    plots: Sequence[str],
) -> str:
    amounts = measured["amounts"]
    heads = ("", *(COLUMNS[each][0] for each in workload.shown), "beside KongTask", "spread")
    rows = [
        (
            _called(key, amounts[key], amounts, workload),
            *(_cell(each, found[key].get(each)) for each in workload.shown),
            _beside(found, key, workload.shown[0]),
            _spread(measured["runs"][key], workload.shown[0]),
        )
        for key in workload.participants
        if key in found
    ]
    picture = f"\n![{workload.title}](performance/{name}.png)\n" if f"{name}.png" in plots else ""
    return "\n".join(
        (
            f"## {workload.title}\n",
            f"{workload.about} {workload.absent}".strip() + "\n",
            f"*{_amount(workload, amounts)}; {_circumstances(workload, measured)}*\n",
            _table(heads, rows) + picture,
            *(
                f"{PARTICIPANTS[key].name} did not finish: {reason}\n"
                for key, reason in measured["failures"].items()
            ),
        )
    )


def _circumstances(workload: Workload, measured: Mapping[str, Any]) -> str:
    """Return what a reader has to know to judge a table."""
    left_out = [
        PARTICIPANTS[key].name for key in workload.participants if key not in measured["amounts"]
    ]
    commit = measured.get("commit_us")
    full = max((workload.amount(key, 1.0) for key in measured["amounts"]), default=1)
    scale = max(measured["amounts"].values(), default=full) / full
    return "".join(
        (
            f"rounds: {measured['rounds']}; {measured['date'][:10]}, "
            f"revision {measured.get('revision', 'not recorded')}",
            f"; {measured.get('processor', 'processor not recorded')}",
            f"; a commit took {commit:.0f} µs" if commit else "; no commit time recorded",
            f"; {scale:.2g} of a full run" if scale != 1 else "",
            f"; left out this time: {', '.join(left_out)}" if left_out else "",
            ".",
        )
    )


def _amount(workload: Workload, amounts: Mapping[str, int]) -> str:
    most = max(amounts.values(), default=0)
    if not workload.timed:
        return f"{most:,} jobs"
    return f"{most} s" if most > 1 else "Once a round"


def _called(key: str, amount: int, amounts: Mapping[str, int], workload: Workload) -> str:
    name = PARTICIPANTS[key].name
    return name if amount == max(amounts.values()) else f"{name} ({amount:,} jobs)"


def _cell(number: str, value: float | None) -> str:
    if value is None:
        return ""
    if number in ALWAYS:
        return "yes" if value else "**no**"
    return COLUMNS[number][1].format(value)


def _beside(found: Mapping[str, Mapping[str, float]], key: str, number: str) -> str:
    own, other = found.get(OURS, {}).get(number), found[key].get(number)
    if not own or other is None:
        return ""
    return f"{other / own:.2f} ×"


def _spread(runs: Sequence[Mapping[str, float]], number: str) -> str:
    values = [run[number] for run in runs]
    middle = median(values)
    return f"±{(max(values) - min(values)) / 2 / middle * 100:.0f} %" if middle else ""


def _taking_part(results: Results) -> str:
    known = results.get("participants", {})
    rows = [
        (PARTICIPANTS[key].name, known[key].get("version", ""), PARTICIPANTS[key].setting)
        for key in PARTICIPANTS
        if key in known and "absent" not in known[key]
    ]
    absent = [
        f"- {PARTICIPANTS[key].name} did not take part: {known[key]['absent']}."
        for key in PARTICIPANTS
        if "absent" in known.get(key, {})
    ]
    return (
        "\n".join(
            ("## Who took part\n", _table(("", "version", "settings"), rows), *absent)
        ).rstrip("\n")
        + "\n"
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)
