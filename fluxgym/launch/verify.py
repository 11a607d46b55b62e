"""Does the LoRA that a training left really load? `python -m fluxgym.launch.verify FILE STARTED_AT EXPECTED_STEPS STEP` prints a verdict as JSON.

A short-lived child of the supervisor, for it needs numpy. Completed means: the expected steps, a fresh file, whole, and no NaN in it.
"""

import json
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np

EXPONENTS = {"BF16": 0x7F80, "F16": 0x7C00}
WIDE = {"F32": np.float32, "F64": np.float64}


def verdict(path: Path, started_at: float, expected_steps: int, step: int) -> dict[str, Any]:
    """Return {"ok", "reason", and what was checked}."""
    checks: dict[str, Any] = {"file": path.name, "step": step, "expected_steps": expected_steps}
    reason = _first_fault(path, started_at, expected_steps, step, checks)
    return {"ok": not reason, "reason": reason, **checks}


def _first_fault(path: Path, started_at: float, expected_steps: int, step: int, checks: dict[str, Any]) -> str:
    if step < expected_steps:
        return f"only {step} of {expected_steps} steps were trained"
    if not path.is_file():
        return f"it left no {path.name}"
    if path.stat().st_mtime < started_at - 2:
        return f"{path.name} is older than this start"
    try:
        header, data = _read(path)
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, struct.error) as error:
        return f"{path.name} cannot be read ({error})"
    checks["num_tensors"] = len(header)
    if not header:
        return f"{path.name} holds no tensors"
    odd = next((name for name, entry in header.items() if not _is_finite(entry, data)), None)
    return f"the tensor {odd} in {path.name} holds values that are no numbers" if odd else ""


def _read(path: Path) -> tuple[dict[str, Any], np.ndarray[Any, np.dtype[np.uint8]]]:
    """Read a .safetensors file: its header by tensor, and its data."""
    raw = np.fromfile(path, dtype=np.uint8)
    (length,) = struct.unpack("<Q", raw[:8].tobytes())
    if length > len(raw) - 8:
        raise ValueError("it is cut short")
    header = json.loads(raw[8 : 8 + length].tobytes())
    if not isinstance(header, dict):
        raise ValueError("its header is no table")
    header.pop("__metadata__", None)
    data = raw[8 + length :]
    if header and max(entry["data_offsets"][1] for entry in header.values()) != len(data):
        raise ValueError("it is cut short")
    return header, data


def _is_finite(entry: dict[str, Any], data: np.ndarray[Any, np.dtype[np.uint8]]) -> bool:
    start, end = entry["data_offsets"]
    part = data[start:end].tobytes()
    if entry["dtype"] in WIDE:
        return bool(np.isfinite(np.frombuffer(part, WIDE[entry["dtype"]])).all())
    if entry["dtype"] in EXPONENTS:
        mask = EXPONENTS[entry["dtype"]]
        return bool(((np.frombuffer(part, np.uint16) & mask) != mask).all())
    return True


if __name__ == "__main__":
    print(json.dumps(verdict(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))))  # noqa: T201 - its result
