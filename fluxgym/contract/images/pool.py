"""A small pool of worker processes that decode images. They start on demand, and end when they are idle or exceed the time limit.

App and trainer each have their own worker program with its own limits (`fluxgym/dataset/image_worker.py`, `library/data/image_decoder.py`).
Both report errors with the same messages.
"""

import json
import os
import selectors
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic

from fluxgym.contract.images.formats import UnusableImage

IDLE_S = 20.0
END_S = 5.0
CHUNK_BYTES = 64 << 10
KEPT_VARIABLES = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME")  # not PATH: a decoder starts no program
FEW_ARENAS = {"MALLOC_ARENA_MAX": "2"}  # glibc reserves address space for each thread, which the worker's limit counts


class NoWorker(Exception):
    """No process can be started; error is the cause."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True, kw_only=True)
class WorkerProgram:
    """The program of a pool's workers: a module and the folder that it is imported from.

    time_limit_s is how long a request may take, also on a machine that trains meanwhile; the program limits its CPU time itself.
    """

    module: str
    folder: Path
    time_limit_s: float
    max_reply_bytes: int


@dataclass(frozen=True, kw_only=True)
class ImageRequest:
    """What a worker does with one file, named by its absolute path; side is the largest side of a thumbnail in pixels."""

    action: str
    path: str
    side: int = 0


@dataclass(frozen=True, kw_only=True)
class ImageResult:
    """An image's size after EXIF rotation and the requested data; or the refusal, with is_usable False if the worker must end."""

    width: int = 0
    height: int = 0
    data: bytes = b""
    refusal: str = ""
    is_usable: bool = True


class _WorkerEnded(Exception):
    """The worker closed its output before the reply was complete."""


class _Worker:
    """One process. Not thread-safe."""

    def __init__(self, program: WorkerProgram) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", program.module], cwd=program.folder, bufsize=0, start_new_session=True,
            env={name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ} | FEW_ARENAS,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert self._process.stdin is not None and self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout
        self._received, self._max_reply_bytes = bytearray(), program.max_reply_bytes
        self.pid = self._process.pid

    def is_alive(self) -> bool:
        """Return True if the process runs."""
        return self._process.poll() is None

    def run(self, request: ImageRequest, time_limit_s: float) -> ImageResult:
        """Return the result of a request, also if the process dies or takes too long."""
        try:
            self._input.write(json.dumps(asdict(request)).encode() + b"\n")
            return self._read_result(monotonic() + time_limit_s)
        except TimeoutError:
            return _failed(f"took more than {time_limit_s:.0f} seconds to decode; make it smaller, or try again later.")
        except (OSError, ValueError, KeyError, _WorkerEnded):
            return _failed(_how_it_ended(self.end()))

    def _read_result(self, deadline: float) -> ImageResult:
        self._receive(lambda: b"\n" in self._received, deadline)
        head, _, self._received = self._received.partition(b"\n")
        reply = json.loads(head)
        self._receive(lambda: len(self._received) >= reply["num_bytes"], deadline)
        data = bytes(self._received)
        self._received = bytearray()
        return ImageResult(
            width=reply["width"], height=reply["height"], data=data, refusal=reply["refusal"], is_usable=not reply["is_exhausted"]
        )

    def _receive(self, is_complete: Callable[[], bool], deadline: float) -> None:
        """Read until is_complete.

        Raises:
            TimeoutError: If the deadline passes.
            _WorkerEnded: If the worker closes its output.
            ValueError: If the reply is longer than allowed.
        """
        with selectors.PollSelector() as selector:  # needs no open file of its own
            selector.register(self._output, selectors.EVENT_READ)
            while not is_complete():
                if not selector.select(max(0.0, deadline - monotonic())):
                    raise TimeoutError
                chunk = os.read(self._output.fileno(), CHUNK_BYTES)
                if not chunk:
                    raise _WorkerEnded
                self._received += chunk
                if len(self._received) > self._max_reply_bytes:
                    raise ValueError("the reply is too long")

    def end(self) -> int:
        """End the process, if it does not end by itself, and return its exit code."""
        self._input.close()
        self._output.close()
        try:
            return self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """Kill the process and return its exit code."""
        self._process.kill()
        self._input.close()
        self._output.close()
        return self._process.wait()


def _failed(refusal: str) -> ImageResult:
    return ImageResult(refusal=refusal, is_usable=False)


def _how_it_ended(code: int) -> str:
    """Return why there is no reply from a worker with this exit code."""
    if code == -signal.SIGXCPU:
        return "takes too long to decode; make it smaller."
    if code in (-signal.SIGKILL, -signal.SIGTERM):
        return "could not be decoded: the system ended the process that does it, most often because memory ran out; make it smaller, or try again."
    return "makes its decoder crash; it is damaged, or needs too much memory. Save it again, or make it smaller."


class ImagePool:
    """At most `size` workers. Thread-safe; more requests wait for a free worker."""

    def __init__(self, size: int, program: WorkerProgram, *, idle_s: float = IDLE_S) -> None:
        self._program, self._idle_s, self.time_limit_s = program, idle_s, program.time_limit_s
        self._slots = threading.BoundedSemaphore(size)
        self._changed = threading.Condition()
        self._idle: list[tuple[float, _Worker]] = []  # since when each has been idle, the longest first
        self._busy: set[_Worker] = set()
        self._is_ending = False  # a thread ends workers that are idle for too long

    def run(self, request: ImageRequest) -> ImageResult:
        """Return the result of a request.

        Raises:
            UnusableImage: If the image is not read, or its worker died. The message continues the file's name.
            NoWorker: If no process can be started.
        """
        with self._slots:
            worker = self._acquire()
            result = _failed("")
            try:
                result = worker.run(request, self.time_limit_s)
            finally:
                self._release(worker, result.is_usable)
        if result.refusal:
            raise UnusableImage(result.refusal)
        return result

    def pids(self, *, busy_only: bool = False) -> set[int]:
        """Return the process ids of the workers; with busy_only, of those that process a request."""
        with self._changed:
            idle = [] if busy_only else [worker for _, worker in self._idle]
            return {worker.pid for worker in (*self._busy, *idle)}

    def _acquire(self) -> _Worker:
        with self._changed:
            while self._idle:
                _, worker = self._idle.pop()
                if worker.is_alive():
                    self._busy.add(worker)
                    return worker
                worker.end()
        try:
            worker = _Worker(self._program)
        except OSError as error:
            raise NoWorker(error) from None
        with self._changed:
            self._busy.add(worker)
        return worker

    def _release(self, worker: _Worker, is_usable: bool) -> None:
        if not is_usable:
            worker.kill()
        with self._changed:
            self._busy.discard(worker)
            if not is_usable:
                return
            self._idle.append((monotonic(), worker))
            if not self._is_ending:
                self._is_ending = True
                threading.Thread(target=self._end_idle, daemon=True).start()

    def _end_idle(self) -> None:
        """End workers that are idle for too long; return once none is idle."""
        with self._changed:
            while self._idle:
                self._changed.wait(max(0.0, self._idle[0][0] + self._idle_s - monotonic()))
                while self._idle and self._idle[0][0] + self._idle_s <= monotonic():
                    self._idle.pop(0)[1].kill()
            self._is_ending = False
