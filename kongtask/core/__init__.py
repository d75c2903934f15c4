"""Plain values and the decisions over them: no I/O, no asyncio, no clock."""
