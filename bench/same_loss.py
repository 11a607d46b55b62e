"""Does our trainer reach the loss that kohya's does: both over the work "mini" at a small size, the same flags, three seeds each.

The two draw other noise from the same seed, so what can be compared is the average loss of the last epoch, as both print it (avr_loss), beside how
much it differs from seed to seed. `KOHYA=DIR make bench ARGS=same_loss` runs it; without a checkout its figures stay empty and say why.
"""

import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bench import mini
from bench.table import Figure
from bench.trainer import SHIM, python_of

SEEDS, EPOCHS, RESOLUTION, REPEATS = (1, 2, 3), 2, 128, 5
WHAT = "average loss of the last epoch"


def measure(_repeats: int) -> list[Figure]:
    """Train with each seed by both; returns the means of the last epoch's average loss, and their distance beside the spread over seeds."""
    kohya = os.environ.get("KOHYA")
    if not kohya:
        return [Figure(what=WHAT, ours=None, unit="", note="kohya not measured: KOHYA= names no checkout")]
    commands = {
        "ours": [sys.executable, str(mini.TRAINER)],
        "kohya": [str(python_of(Path(kohya))), str(SHIM), str(Path(kohya).resolve())],
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mini.write(folder)
        _make_small(folder / "dataset.toml")
        losses = {who: [_last_loss(command, folder, seed) for seed in SEEDS] for who, command in commands.items()}
    means = {who: statistics.mean(found) for who, found in losses.items()}
    spread = statistics.mean([statistics.stdev(found) for found in losses.values()])
    told = "; ".join(f"{who} {', '.join(f'{loss:.4f}' for loss in found)}" for who, found in losses.items())
    return [
        Figure(what=WHAT, ours=means["ours"], unit="", peer=means["kohya"], peer_name="kohya", note=told),
        Figure(
            what="distance of the means", ours=abs(means["ours"] - means["kohya"]), unit="", target="within the spread", peer=spread,
            peer_name="standard deviation over seeds",
        ),
    ]  # fmt: skip


def _make_small(dataset: Path) -> None:
    """Cut the work to a size that three seeds of both can be waited for: 64 picture tokens a step, 80 steps."""
    text = dataset.read_text(encoding="utf-8")
    text = text.replace(f"resolution = {mini.RESOLUTION}", f"resolution = {RESOLUTION}").replace(
        "num_repeats = 10", f"num_repeats = {REPEATS}"
    )
    dataset.write_text(text, encoding="utf-8")


def _last_loss(command: list[str], folder: Path, seed: int) -> float:
    """Train to the end with a seed; returns the last avr_loss that the bar showed."""
    with tempfile.TemporaryDirectory() as out:
        flags = mini.flags(folder, Path(out))
        for flag, value in (("--seed", seed), ("--max_train_epochs", EPOCHS)):
            flags[flags.index(flag) + 1] = str(value)
        environment = os.environ | {"TQDM_MININTERVAL": "0", "PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false"}
        done = subprocess.run([*command, *flags], capture_output=True, text=True, env=environment, check=False)
    found = re.findall(r"avr_loss=([0-9.]+)", done.stderr)
    if done.returncode or not found:
        raise RuntimeError(f"the trainer ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return float(found[-1])
