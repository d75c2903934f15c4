"""A network that swallows packets: nobody is told, no connection is ended."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

NEEDS_IPTABLES = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("iptables") is None,
    reason="to cut a network takes root and iptables (apt-get install iptables)",
)


def iptables(*words: str) -> bool:
    """Change the rules; returns whether that worked."""
    return subprocess.run(["iptables", "-w", *words], capture_output=True).returncode == 0


@contextmanager
def cut(port: int) -> Iterator[None]:
    """Drop every packet from and to a port of this machine while the block runs."""
    with ExitStack() as rules:
        for side in ("--sport", "--dport"):
            rule = ("INPUT", "-i", "lo", "-p", "tcp", side, str(port), "-j", "DROP")
            if not iptables("-I", *rule):
                pytest.skip("iptables may not change rules here")
            rules.callback(iptables, "-D", *rule)
        yield
