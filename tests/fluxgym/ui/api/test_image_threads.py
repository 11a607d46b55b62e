"""Images that take long do not use up the threads of the page's other requests."""

import threading

import anyio
from starlette.concurrency import run_in_threadpool

from fluxgym.ui.api.image_threads import NUM_THREADS, run_in_image_thread


def test_other_requests_are_answered_while_images_wait():
    running = threading.Semaphore(0)
    release = threading.Event()

    def decode() -> None:
        running.release()
        release.wait()

    async def main() -> int:
        async with anyio.create_task_group() as group:
            for _ in range(100):
                group.start_soon(run_in_image_thread, decode)
            for _ in range(NUM_THREADS):
                await run_in_threadpool(running.acquire)
            answer = await run_in_threadpool(lambda: 7)
            release.set()
        return answer

    assert anyio.run(main) == 7
