"""The machine line of the page: processor, memory and disk. Apart from devices.py, since psutil costs the supervisor 1.7 MB."""

import os
from functools import cache
from pathlib import Path

import psutil

from fluxgym.runs.gpus import NVIDIA

GIB = 1 << 30


def describe(folder: Path) -> list[str]:
    """Return the GPU or CPU, the memory in use, and the free space on the disk of the outputs folder, which is left out if it is unknown."""
    memory = psutil.virtual_memory()
    parts = [_processor(), f"RAM {(memory.total - memory.available) / GIB:.0f} / {memory.total / GIB:.0f} GiB"]
    free = _free_bytes(folder)
    return parts if free is None else [*parts, f"{free / 1e9:.0f} GB free"]


@cache
def _processor() -> str:
    """Return the name of the first NVIDIA GPU from its driver, else the number of CPU cores."""
    for information in sorted(NVIDIA.glob("*/information")):
        for line in information.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "Model":
                return value.strip().removeprefix("NVIDIA ").removeprefix("GeForce ")
    return f"CPU, {len(os.sched_getaffinity(0))} cores"


def _free_bytes(folder: Path) -> int | None:
    """Return the free space on the disk of a folder, which need not exist; None if it is unknown."""
    for existing in (folder, *folder.parents):
        try:
            return psutil.disk_usage(str(existing)).free
        except OSError:
            continue
    return None
