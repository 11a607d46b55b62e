"""Whether our trainer reaches the loss of kohya's: both train a small "mini" with the same flags and three seeds each.

The two draw different noise from the same seed, so the losses that they print cannot be compared. Instead, each LoRA (and the base
without one) is evaluated with the same draws: our trainer runs over the images with --network_weights at a learning rate that changes
nothing, and its losses are averaged. The trainers count as equal if their means differ by no more than the three seeds of one trainer
do. The base is bfloat16, because kohya's --fp8_base casts without scales and ours uses scales: the base models would differ.

`KOHYA=DIR make bench ARGS=same_loss` runs it. Without a checkout its figures stay empty, with the reason.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bench import mini
from bench.table import Figure
from bench.trainer import SHIM, python_of

SEEDS, EPOCHS, RESOLUTION, REPEATS = (1, 2, 3), 2, 128, 3
EVALUATION_SEED, EVALUATION_EPOCHS, TINY_LEARNING_RATE = 99, 1, "1e-9"
WHAT = "loss of the trained LoRA"


def measure(_repeats: int) -> list[Figure]:
    """Train with each seed by both and evaluate every LoRA; return the means of both, their distance beside the spread, and the untrained loss."""
    kohya = os.environ.get("KOHYA")
    if not kohya:
        return [Figure(what=WHAT, ours=None, unit="", note="kohya not measured: KOHYA= names no checkout")]
    ours = [sys.executable, str(mini.TRAINER)]
    commands = {"ours": ours, "kohya": [str(python_of(Path(kohya))), str(SHIM), str(Path(kohya).resolve())]}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mini.write(folder)
        _make_small(folder / "dataset.toml")
        untrained_loss = _mean_loss(ours, folder, None)
        losses = {
            who: [_mean_loss(ours, folder, _train(command, folder, who, seed)) for seed in SEEDS] for who, command in commands.items()
        }
    return _figures(losses, untrained_loss)


def _figures(losses: dict[str, list[float]], untrained_loss: float) -> list[Figure]:
    means = {who: statistics.mean(found) for who, found in losses.items()}
    spread = statistics.mean([statistics.stdev(found) for found in losses.values()])
    note = "; ".join(f"{who} {', '.join(f'{loss:.5f}' for loss in found)}" for who, found in losses.items())
    return [
        Figure(what=WHAT, ours=means["ours"], unit="", peer=means["kohya"], peer_name="kohya", note=note),
        Figure(
            what="distance of the means", ours=abs(means["ours"] - means["kohya"]), unit="", target="within the spread", peer=spread,
            peer_name="standard deviation over seeds",
        ),
        Figure(what="what training took off the loss", ours=untrained_loss - means["ours"], unit="", peer=untrained_loss - means["kohya"],
               peer_name="kohya", note=f"untrained {untrained_loss:.5f}"),
    ]  # fmt: skip


def _make_small(dataset: Path) -> None:
    """Reduce the work so that three seeds of both trainers take minutes: 64 image tokens per step, 48 steps."""
    text = dataset.read_text(encoding="utf-8")
    text = text.replace(f"resolution = {mini.RESOLUTION}", f"resolution = {RESOLUTION}")
    dataset.write_text(text.replace("num_repeats = 10", f"num_repeats = {REPEATS}"), encoding="utf-8")


def _train(command: list[str], folder: Path, who: str, seed: int) -> Path:
    """Train to the end with a seed; returns the LoRA file."""
    out = folder / f"{who}-{seed}"
    _run(command, folder, out, seed=seed, max_train_epochs=EPOCHS)
    return out / "mini.safetensors"


def _mean_loss(trainer: list[str], folder: Path, lora: Path | None) -> float:
    """Return the mean loss of a LoRA, or of the bare model, over draws that are the same for all."""
    with tempfile.TemporaryDirectory() as out:
        more = ["--network_weights", str(lora)] if lora else []
        _run(trainer, folder, Path(out), *more, seed=EVALUATION_SEED, max_train_epochs=EVALUATION_EPOCHS, learning_rate=TINY_LEARNING_RATE)
        lines = (json.loads(line) for line in (Path(out) / "progress.jsonl").read_text(encoding="utf-8").splitlines())
        losses = {line["step"]: line["loss"] for line in lines if line.get("loss") is not None}
    return statistics.mean(losses.values())


def _run(command: list[str], folder: Path, out: Path, *more: str, **changes: object) -> None:
    """Run a trainer to its end with some flags changed.

    Raises:
        RuntimeError: If it fails; the message is the end of its output.
    """
    flags = [word for word in mini.flags(folder, out) if word != "--fp8_base"]
    for name, value in changes.items():
        flags[flags.index(f"--{name}") + 1] = str(value)
    environment = os.environ | {"TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run([*command, *flags, *more], capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"the trainer ended with {done.returncode}:\n{done.stderr[-2000:]}")
