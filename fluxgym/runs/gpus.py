"""The GPUs of this machine: whether there is one, and how much memory they have. No vendor library is loaded."""

import os
import re
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

NVIDIA = Path("/proc/driver/nvidia/gpus")  # has a folder for each GPU
GPU_SIGNS = (NVIDIA, Path("/dev/dxg"), Path("/dev/kfd"))
VISIBLE = "CUDA_VISIBLE_DEVICES"
GPU_NUMBERS = re.compile(r"\d{1,3}(,\d{1,3})*")  # as a user names them: "0,1"
QUERY = ("--query-gpu=memory.total", "--format=csv,noheader,nounits")
TIMEOUT_S = 10.0


def has_gpu() -> bool:
    """Return True if this machine has a GPU that a trainer would see."""
    return any(sign.exists() for sign in GPU_SIGNS) and os.environ.get(VISIBLE) not in ("", "-1")


def smallest_memory_gib() -> float | None:
    """Return the memory in GiB of the visible GPU with the least, as a run may get any of them; None if it is not known."""
    tool = shutil.which("nvidia-smi")
    sizes, visible = () if tool is None else _sizes_mib(tool, Path(tool).stat().st_mtime_ns), os.environ.get(VISIBLE, "")
    numbers = [int(name) for name in visible.split(",") if name.strip().isdecimal()]
    chosen = [sizes[number] for number in numbers if number < len(sizes)] or list(sizes)
    return min(chosen) / 1024 if chosen else None


@lru_cache(maxsize=1)
def _sizes_mib(tool: str, _mtime_ns: int) -> tuple[int, ...]:
    """Return the memory of each NVIDIA GPU in MiB, () if nvidia-smi does not report it; cached per version of nvidia-smi."""
    try:
        done = subprocess.run([tool, *QUERY], capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
        return tuple(int(line) for line in done.stdout.split())
    except (OSError, ValueError, subprocess.SubprocessError):
        return ()
