"""A preloaded library that makes flock, chmod, fsync of a folder, mmap and link fail under some folders, built with gcc when there is one."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("volume_shim.c")
ALL = ("flock", "chmod", "fsync", "mmap", "link")


def refusing_environment(folder: Path, *volumes: Path, calls: Sequence[str] = ALL) -> dict[str, str]:
    """Return the variables under which a process finds calls refused in volumes; folder is for the library. Skips the test without gcc."""
    library = folder / "volume_shim.so"
    if not library.exists():
        _build(library)
    refused = {"TEST_VOLUMES": ":".join(str(volume) for volume in volumes), "TEST_REFUSED": " ".join(calls)}
    return {"LD_PRELOAD": str(library), **refused}


def _build(library: Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler, so no call of the system can be made to fail")
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"the C compiler cannot build the library: {done.stderr.decode()[:200]}")
