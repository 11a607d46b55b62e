"""Whether optimizations change the loss: the loss of every step of "mini" as FluxGym trains it, beside a plain float32 training with the same random
draws.

The reference keeps all activations, computes in float32 from the same bfloat16 files, and uses neither float8 nor compilation, so that
only rounding differs. The peer is the difference that rounding the weights makes: the same float32 training from the float8 base.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bench import mini
from bench.table import Figure

STEPS = 24


def measure(_repeats: int) -> list[Figure]:
    """Train three times with the same draws; returns the differences of the losses, in thousandths of the loss."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mini.write(folder)
        fast = _losses(folder, "fast", [])
        plain = ["--mixed_precision", "no"], {"--fp8_base", "--gradient_checkpointing"}
        exact = _losses(folder, "exact", *plain)
        rounded = _losses(folder, "rounded", plain[0], plain[1] - {"--fp8_base"})
    return [
        Figure(
            what=what, ours=reduce(_split_module(fast, exact)), unit="/1000", target="within noise", peer=reduce(_split_module(rounded, exact)),
            peer_name="float32 over a float8 base",
        )
        for what, reduce in (("loss beside float32, median over steps", statistics.median), ("the same, largest", max))
    ]  # fmt: skip


def _losses(folder: Path, name: str, extra: list[str], without: set[str] = frozenset()) -> list[float]:
    """Train STEPS steps with mini's flags, without the flags in `without` and with `extra`; returns the loss of every step."""
    out = folder / name
    flags = [flag for flag in mini.flags(folder, out) if flag not in without]
    epochs = flags.index("--max_train_epochs")
    flags[epochs : epochs + 2] = ["--max_train_steps", str(STEPS)]
    subprocess.run([sys.executable, str(mini.TRAINER), *flags, *extra], check=True, capture_output=True)
    lines = [json.loads(line) for line in (out / "progress.jsonl").read_text(encoding="utf-8").splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


def _split_module(losses: list[float], exact: list[float]) -> list[float]:
    return [1000 * abs(loss - true) / true for loss, true in zip(losses, exact, strict=True)]
