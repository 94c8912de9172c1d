"""How long an event loop is held up by what is awaited beside it."""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable

BEATS = 200
"""Queries at once."""


async def longest_delay(ask: Callable[[], Awaitable[object]]) -> float:
    """Return by how many milliseconds the latest beat of 10 ms came too late beside BEATS calls."""
    late = [0.0]
    gc.collect()
    gc.freeze()  # looking through all that was imported stops every thread for 0.1 s

    async def beat() -> None:
        while True:
            due = time.perf_counter() + 0.01
            await asyncio.sleep(0.01)
            late.append(time.perf_counter() - due)

    heart = asyncio.create_task(beat())
    await asyncio.gather(*(ask() for _ in range(BEATS)))
    heart.cancel()
    return max(late) * 1e3
