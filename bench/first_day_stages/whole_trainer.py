"""The whole trainer on the models of "mini": through, resumed, swapped, sampled, with float8 products and a masked T5."""

import hashlib
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from bench import mini
from bench.first_day_stages.common import HAS_GPU, attempt

NUM_IMAGES, HALF = 8, 4
SIDE = 512 if HAS_GPU else 64
ADAMW = ("--optimizer_type", "AdamW", "--optimizer_args", "weight_decay=0.01", "--lr_scheduler", "constant")


def trainer(work: Path) -> None:
    """Train one epoch under each set of flags; a run that is resumed halfway must give the weights of one that was not interrupted."""
    models, digests = _make_inputs(work / "models"), {}

    def train(name: str, *flags: str) -> Callable[[], dict[str, object]]:
        def run() -> dict[str, object]:
            began, out = time.monotonic(), work / "runs" / name
            command = [sys.executable, "sd-scripts/flux_train_network.py", *mini.flags(models, out)]
            done = subprocess.run(
                [*command, "--max_train_epochs", "1", "--deterministic", *flags], capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise RuntimeError((done.stderr.strip().splitlines() or ["no message"])[-1])
            digests[name] = _digest(out / "mini.safetensors")
            return {"s": round(time.monotonic() - began, 1), "weights": digests[name]}

        return run

    prompts = ("--sample_every_n_steps", str(HALF), "--sample_prompts", str(models / "prompts.txt"))
    runs = {
        "through": (*ADAMW, "--save_state", "--save_every_n_steps", str(HALF)),
        "resumed": (*ADAMW, "--resume", str(work / f"runs/through/mini-step{HALF:08d}-state")),
        "adafactor": (),
        "swapped": ("--blocks_to_swap", "2"),
        "sampled": prompts,
        "float8 products": ("--fp8_matmul",),
        "T5 mask": ("--apply_t5_attn_mask",),
    }
    for name, flags in runs.items() if HAS_GPU else list(runs.items())[:2]:
        attempt("trainer", name, train(name, *flags))
    attempt("trainer", "a resumed run gives the weights of the uninterrupted one", lambda: _same(digests, "through", "resumed"))
    if HAS_GPU:
        attempt("trainer", "swapped blocks give the weights of resident ones", lambda: _same(digests, "adafactor", "swapped"))


def _same(digests: dict[str, str], first: str, second: str) -> str:
    if digests[first] != digests[second]:
        raise AssertionError(f"{first} {digests[first]}, {second} {digests[second]}")
    return "equal"


def _digest(path: Path) -> str:
    """Return a hash of a LoRA's tensors without its metadata, which hold the time."""
    tensors = (tensor.reshape(-1).contiguous().view(torch.uint8) for _, tensor in sorted(load_file(path).items()))
    return hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in tensors)).hexdigest()[:12]


def _make_inputs(folder: Path) -> Path:
    """Write the models of "mini" and images of noise; needs neither tomli-w nor the photos of the tests."""
    (folder / "images").mkdir(parents=True)
    mini._write_models(folder)
    mini._write_tokenizers(folder / "tokenizers")
    for number in range(NUM_IMAGES):
        pixels = np.random.default_rng(number).integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"images/{number}.png")
        (folder / f"images/{number}.txt").write_text("sks cat")
    (folder / "prompts.txt").write_text("a cat --s 4\n")
    (folder / "dataset.toml").write_text(
        f"[[datasets]]\nresolution = {SIDE}\nbatch_size = 1\n[[datasets.subsets]]\nimage_dir = '{folder / 'images'}'\nnum_repeats = 1\n"
    )
    return folder
