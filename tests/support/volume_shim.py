"""A preloaded library that makes flock, chmod, fsync of a folder, mmap, link and writes fail under some folders, built with gcc when there is one."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("volume_shim.c")
ALL = ("flock", "chmod", "fsync", "mmap", "link")


def refusing_environment(folder: Path, *volumes: Path, calls: Sequence[str] = ALL) -> dict[str, str]:
    """Return the variables under which a process finds calls refused in volumes; folder is for the library. Skips the test without gcc."""
    library = _library(folder)
    refused = {"TEST_VOLUMES": ":".join(str(volume) for volume in volumes), "TEST_REFUSED": " ".join(calls)}
    return {"LD_PRELOAD": str(library), **refused}


def failing_environment(folder: Path, volume: Path, *, num_bytes: int, error: int) -> dict[str, str]:
    """Return the variables under which each process can write num_bytes to a volume and then gets an error number, ENOSPC for a full disk."""
    return refusing_environment(folder, volume, calls=("write",)) | {"TEST_WRITE_BYTES": str(num_bytes), "TEST_WRITE_ERROR": str(error)}


def _library(folder: Path) -> Path:
    library = folder / "volume_shim.so"
    if not library.exists():
        _build(library)
    return library


def _build(library: Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler, so no call of the system can be made to fail")
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"the C compiler cannot build the library: {done.stderr.decode()[:200]}")
