"""Compiles and loads the shim. Imports no torch: the shim must be loaded before torch first looks for a CUDA device."""

import ctypes
import importlib.util
import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.cpp")
COMPILER = "g++"


def missing() -> str | None:
    """Return why the shim cannot be used on this machine, or None if it can."""
    if not shutil.which(COMPILER):
        return f"the fake CUDA device needs {COMPILER}"
    if not (_torch() / "include" / "ATen").is_dir():
        return "this PyTorch comes without its C++ headers"
    if (_torch() / "lib" / "libtorch_cuda.so").exists():
        return "the fake CUDA device needs a CPU build of PyTorch"
    return None


def compile_shim(folder: Path) -> Path:
    """Compile the shim into a folder and return the library; raises subprocess.CalledProcessError with the compiler's output."""
    torch, library = _torch(), folder / "fake_cuda.so"
    headers = [f"-I{torch / 'include'}", f"-I{torch / 'include/torch/csrc/api/include'}"]
    libraries = [f"-L{torch / 'lib'}", f"-Wl,-rpath,{torch / 'lib'}", "-lc10", "-ltorch_cpu"]
    subprocess.run(
        [COMPILER, "-shared", "-fPIC", "-std=c++20", *headers, str(SOURCE), *libraries, "-o", str(library)],
        check=True,
        capture_output=True,
        text=True,
    )
    return library


def load_shim(library: Path) -> None:
    """Load a compiled shim into this process."""
    ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)


def _torch() -> Path:
    return Path(importlib.util.find_spec("torch").origin).parent
