"""Verify a trained LoRA: `python -m fluxgym.supervisor.verify_lora FILE STARTED_AT EXPECTED_STEPS STEP` prints the result as JSON.

A short-lived child of the supervisor, since it needs numpy. A LoRA is verified if all steps were trained and its file is new, complete and
free of NaN and infinity.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fluxgym.contract.regular_files import open_regular
from fluxgym.contract.safetensors import read_header

EXPONENTS = {"BF16": 0x7F80, "F16": 0x7C00}  # all bits of the exponent set: infinity or NaN
WIDE = {"F32": np.float32, "F64": np.float64}
WHOLE = frozenset({"BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64"})  # always finite


def verify_lora(path: Path, started_at: float, expected_steps: int, step: int) -> dict[str, Any]:
    """Return {"ok", "reason", and what was checked}. started_at is by the clock of the file's disk, in seconds since the epoch."""
    checks: dict[str, Any] = {"file": path.name, "step": step, "expected_steps": expected_steps}
    reason = _first_fault(path, started_at, expected_steps, step, checks)
    return {"ok": not reason, "reason": reason, **checks}


def _first_fault(path: Path, started_at: float, expected_steps: int, step: int, checks: dict[str, Any]) -> str:
    if step < expected_steps:
        return f"only {step} of {expected_steps} steps were trained"
    if not path.is_file():
        return f"it left no {path.name}"
    try:
        with open_regular(path) as file:
            return _fault_of_file(path, file, started_at, checks)
    except (OSError, ValueError) as error:
        return f"{path.name} cannot be read ({error.strerror or error if isinstance(error, OSError) else error})"


def _fault_of_file(path: Path, file: BinaryIO, started_at: float, checks: dict[str, Any]) -> str:
    """Return what is wrong with an open file, "" if nothing is.

    Raises:
        OSError, ValueError: If it cannot be read.
    """
    status = os.fstat(file.fileno())
    if status.st_mtime < started_at:
        return f"{path.name} is older than this start"
    header = read_header(path)
    checks["num_tensors"] = len(header.tensors)
    if not header.tensors:
        return f"{path.name} contains no tensors"
    if status.st_size != header.file_bytes:
        return f"{path.name} cannot be read (it is {'cut short' if status.st_size < header.file_bytes else 'too long'})"
    for name, entry in header.tensors.items():
        file.seek(header.data_start + entry.begin)
        is_finite = _is_finite(entry.dtype, file.read(entry.end - entry.begin))
        if is_finite is None:
            return f"the values of the tensor {name} in {path.name} cannot be checked (its dtype is {entry.dtype[:20]})"
        if not is_finite:
            return f"the tensor {name} in {path.name} contains NaN or infinity"
    return ""


def _is_finite(dtype: str, part: bytes) -> bool | None:
    """Return True if all values of a tensor are finite, None if its dtype is unknown or its bytes do not fit the dtype."""
    try:
        if dtype in WIDE:
            return bool(np.isfinite(np.frombuffer(part, WIDE[dtype])).all())
        if dtype in EXPONENTS:
            mask = EXPONENTS[dtype]
            return bool(((np.frombuffer(part, np.uint16) & mask) != mask).all())
    except ValueError:
        return None
    return True if dtype in WHOLE else None


def main(argv: list[str]) -> None:
    """Print the result as JSON; argv is the path, the start time in seconds, the expected and the trained steps."""
    print(json.dumps(verify_lora(Path(argv[0]), float(argv[1]), int(argv[2]), int(argv[3]))))  # noqa: T201 (the result)


if __name__ == "__main__":
    main(sys.argv[1:])
