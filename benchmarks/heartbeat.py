"""Measures how long concurrent calls block the event loop."""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable

BEATS = 200
"""Concurrent calls."""


async def longest_delay(ask: Callable[[], Awaitable[object]]) -> float:
    """Return the longest delay in ms of a 10 ms heartbeat during BEATS concurrent calls."""
    late = [0.0]
    gc.collect()
    gc.freeze()  # a collection over all imported modules stops every thread for 0.1 s

    async def beat() -> None:
        while True:
            due = time.perf_counter() + 0.01
            await asyncio.sleep(0.01)
            late.append(time.perf_counter() - due)

    heart = asyncio.create_task(beat())
    await asyncio.gather(*(ask() for _ in range(BEATS)))
    heart.cancel()
    return max(late) * 1e3
