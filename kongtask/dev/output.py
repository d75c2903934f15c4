"""What can be heard of a worker from outside: its lines, and whether it is ready."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

PROBE_PATIENCE = 2.0
"""Seconds in which /readyz must answer."""

LONGEST_LINE = 10_000
"""Characters of one line that are shown."""


async def lines(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    """Yield the lines of a stream as they come, however long, without their ends."""
    rest = b""
    while chunk := await stream.read(65536):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield _shown(line)
        if len(rest) > LONGEST_LINE:
            yield _shown(rest)
            rest = b""
    if rest:
        yield _shown(rest)


def _shown(line: bytes) -> str:
    return line.decode(errors="replace").rstrip("\r")[:LONGEST_LINE]


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


async def is_ready(port: int) -> bool:
    """Whether /readyz on this port answers 200."""
    try:
        async with asyncio.timeout(PROBE_PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(b"GET /readyz HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
                status = await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
    return b" 200 " in status
