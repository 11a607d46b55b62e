"""One writer at a time: an advisory lock on a file, which the kernel drops when its holder dies."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fluxgym.errors import AlreadyRunning
from fluxgym.run.atomic import storage_error

POLL_S = 0.05


@contextmanager
def file_lock(path: Path, *, timeout_s: float, busy: str) -> Iterator[None]:
    """Hold the lock on `path` (created if need be); raises AlreadyRunning with the sentence `busy` when it stays taken."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise storage_error(error, path) from error
    deadline = time.monotonic() + timeout_s
    with file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise AlreadyRunning(busy) from None
                time.sleep(POLL_S)
        yield


@contextmanager
def run_lock(path: Path, *, timeout_s: float = 10.0) -> Iterator[None]:
    """Hold a run's lock (`RunPaths.lock`) while its ui_state.json is changed."""
    with file_lock(
        path, timeout_s=timeout_s, busy=f"Another process is changing the run {path.parent.parent.name}; try again in a moment."
    ):
        yield
