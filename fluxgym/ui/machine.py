"""One line about this machine for the top of the page, read from what the system keeps in memory; no tool is started for it."""

import os
from functools import cache
from pathlib import Path

import psutil

GIB = 1 << 30
NVIDIA = Path("/proc/driver/nvidia/gpus")


def describe(folder: Path) -> str:
    """Return the GPU or CPU, the memory in use and the free space where the runs are kept."""
    memory = psutil.virtual_memory()
    parts = [_processor(), f"RAM {(memory.total - memory.available) / GIB:.0f}/{memory.total / GIB:.0f} GB"]
    free = _free_bytes(folder)
    return " · ".join(parts if free is None else [*parts, f"disk {free / GIB:.0f} GB free"])


@cache
def _processor() -> str:
    """Return the name of the first NVIDIA GPU as its driver tells it, else the number of CPU cores."""
    for information in sorted(NVIDIA.glob("*/information")):
        for line in information.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "Model":
                return f"GPU {value.strip().removeprefix('NVIDIA ')}"
    return f"CPU, {len(os.sched_getaffinity(0))} cores"


def _free_bytes(folder: Path) -> int | None:
    """Return the free space of the disk that a folder is on, or would be on; None when nobody can tell."""
    for place in (folder, *folder.parents):
        try:
            return psutil.disk_usage(str(place)).free
        except OSError:
            continue
    return None
