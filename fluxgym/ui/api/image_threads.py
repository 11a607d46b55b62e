"""Threads for requests that wait for decoded images: few, so that images that take long never use up the threads of the other requests."""

from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

NUM_THREADS = 4
Result = TypeVar("Result")
_LIMITER: RunVar[CapacityLimiter] = RunVar("image_threads")


async def run_in_image_thread(function: Callable[[], Result]) -> Result:
    """Return the result of a function that decodes images; at most NUM_THREADS run at a time in one event loop, the others wait."""
    try:
        limiter = _LIMITER.get()
    except LookupError:
        limiter = CapacityLimiter(NUM_THREADS)
        _LIMITER.set(limiter)
    return await to_thread.run_sync(function, limiter=limiter)
