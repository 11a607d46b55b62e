"""The request loop and the resource limits of a worker process that decodes images.

A worker that runs out of memory or time, or crashes, does not affect the calling process. It reads requests from standard input, one JSON
object per line. For each it writes a JSON line with `num_bytes`, then that many bytes. It exits at the end of its input. What it does with an
image is defined by the program's actions.
"""

import json
import os
import random
import resource
import sys
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from fluxgym.contract.images.formats import UnusableImage
from fluxgym.contract.images.reader import DECODER_ERRORS, open_image, size_as_seen

MAX_CPUS = 4  # decoders start a thread per CPU, and each thread takes address space


@dataclass(frozen=True, kw_only=True)
class WorkerLimits:
    """Limits per image: decode_bytes of address space on top of the idle process, and cpu_s seconds of CPU time. niceness is 0 to 19."""

    decode_bytes: int
    cpu_s: int
    niceness: int


@dataclass(frozen=True, kw_only=True)
class ImageReply:
    """The reply of a worker: the size after EXIF rotation; or why the image is not read, with is_exhausted if memory ran out."""

    width: int = 0
    height: int = 0
    num_bytes: int = 0
    refusal: str = ""
    is_exhausted: bool = False


Reply = tuple[ImageReply, bytes]
Action = Callable[[Path, int], Reply]  # of a file, and of the side of a thumbnail


def read_size(path: Path, pillow: Any) -> ImageReply:
    """Return an image's size from its header; `pillow` is Pillow's module `Image`."""
    with open_image(path, pillow) as image:
        width, height = size_as_seen(image, pillow)
        return ImageReply(width=width, height=height)


def handle(action: Callable[[], Reply], decode_bytes: int) -> Reply:
    """Return what an action returns, or why it failed."""
    try:
        return action()
    except UnusableImage as error:
        return ImageReply(refusal=str(error)), b""
    except MemoryError:
        refusal = f"needs more than {decode_bytes >> 30} GiB of memory to decode; make it smaller."
        return ImageReply(refusal=refusal, is_exhausted=True), b""
    except OSError as error:
        return ImageReply(refusal=f"cannot be read as an image ({error.strerror or error}); save it again."), b""
    except DECODER_ERRORS as error:
        return ImageReply(refusal=f"cannot be read as an image ({error}); save it again."), b""


def limit_process(limits: WorkerLimits) -> None:
    """Limit memory, write no files, let the trainings go first, and be the first to be killed if the machine's memory runs out."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    for limit, value in ((resource.RLIMIT_AS, used + limits.decode_bytes), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0)):
        resource.setrlimit(limit, (value, value))
    os.nice(limits.niceness)
    os.sched_setaffinity(0, choose_cpus(os.sched_getaffinity(0)))
    with suppress(OSError):  # only a preference
        Path("/proc/self/oom_score_adj").write_text("1000")


def choose_cpus(available: set[int]) -> set[int]:
    """Return at most MAX_CPUS of the available CPUs, chosen at random so that workers and trainings do not share the same ones."""
    return set(random.sample(sorted(available), min(len(available), MAX_CPUS)))


def _limit_cpu_time(cpu_s: int) -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(resource.RLIMIT_CPU, (int(usage.ru_utime + usage.ru_stime) + cpu_s, resource.RLIM_INFINITY))


def serve(actions: Mapping[str, Action], limits: WorkerLimits, requests: BinaryIO, replies: BinaryIO) -> None:
    """Handle requests until the input ends."""
    for line in requests:
        request = json.loads(line)
        _limit_cpu_time(limits.cpu_s)
        action = partial(actions[request["action"]], Path(request["path"]), int(request["side"]))
        reply, data = handle(action, limits.decode_bytes)
        replies.write(json.dumps(asdict(reply)).encode() + b"\n")
        replies.write(data)
        replies.flush()


def run_worker(actions: Mapping[str, Action], limits: WorkerLimits) -> None:
    """Run this process as a worker within its limits until its input ends."""
    warnings.simplefilter("ignore")  # of damaged metadata
    limit_process(limits)
    serve(actions, limits, sys.stdin.buffer, sys.stdout.buffer)
