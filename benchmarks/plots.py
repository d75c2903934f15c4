"""Draws one picture a workload. It runs in an environment of its own, which has matplotlib.

Bars are medians, lines reach from the worst round to the best. KongTask is dark.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib
from matplotlib.figure import Figure

matplotlib.use("Agg")
LABELS = {
    "per_second": "jobs a second", "p50_ms": "ms, p50 (dark) and p99 (light)", "seconds": "seconds",
    "transactions_per_second": "transactions a second", "memory_mib": "MiB",
    "processor_share": "% of a core",
}  # fmt: skip
OURS, OTHERS, PALE = "#1f4e79", "#9db4c8", "#d5dfe8"
WIDE = 50


def main() -> None:
    """Draw the results in the folder that the first argument names; print the names."""
    folder = Path(sys.argv[1])
    titles, names = json.loads(sys.argv[2]), json.loads(sys.argv[3])
    results = json.loads((folder / "results.json").read_text())
    for key, workload in results["workloads"].items():
        runs = {who: found for who, found in workload["runs"].items() if found}
        if runs:
            _draw(titles[key]["title"], titles[key]["shown"], runs, names, folder / f"{key}.png")
            print(f"{key}.png")


def _draw(title: str, number: str, runs: dict[str, Any], names: dict[str, str], path: Path) -> None:
    people = list(reversed(runs))
    values = [[run[number] for run in runs[who]] for who in people]
    middles = [median(each) for each in values]
    figure = Figure(figsize=(8, 0.8 + 0.36 * len(people)), layout="constrained", dpi=110)
    axes = figure.subplots()
    if number == "p50_ms" and all("p99_ms" in runs[who][0] for who in people):
        tails = [median(run["p99_ms"] for run in runs[who]) for who in people]
        axes.barh(range(len(people)), tails, color=PALE)
    colours = [OURS if who.startswith(("kongtask", "cli")) else OTHERS for who in people]
    errors = [
        [middle - min(each) for middle, each in zip(middles, values, strict=True)],
        [max(each) - middle for middle, each in zip(middles, values, strict=True)],
    ]
    axes.barh(range(len(people)), middles, color=colours, xerr=errors, ecolor="#444", capsize=2)
    axes.set_yticks(range(len(people)), [names[who] for who in people])
    for at, middle in enumerate(middles):
        axes.annotate(f" {_short(middle)}", (middle, at), fontsize=8, va="bottom", color="#222")
    positive = [middle for middle in middles if middle > 0]
    if positive and max(positive) / min(positive) > WIDE:
        axes.set_xscale("log")
    axes.set_xlabel(LABELS.get(number, number))
    axes.set_title(title, loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Software": None})


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


main()
