"""What the console script calls: the operator, or a sentence about what it lacks."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the operator; exit with 2 when its packages are not installed."""
    try:
        from kongtask.operator.main import main as run
    except ModuleNotFoundError as error:
        print(
            f"kongtask-operator: {error.name} is not installed: pip install 'kongtask[operator]'",
            file=sys.stderr,
        )
        sys.exit(2)
    run()
