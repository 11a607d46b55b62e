"""A checkout of kohya's in miniature: its flags, its output (rich's log lines, tqdm's bars) and its files, but nothing is trained.

Written from what the real one was seen to print. `write_checkout` lays it out; run as a program it is the trainer itself.
"""

import argparse
import json
import logging
import os
import shutil
import struct
import sys
import time
import tomllib
import zipfile
from pathlib import Path
from typing import Any

from tqdm import tqdm

STEP_S = float(os.environ.get("FAKE_STEP_S", "0.02"))
HOLD_AFTER = int(os.environ.get("FAKE_HOLD_AFTER", "-1"))  # the step after which, and after what is saved there, it waits to be stopped
log = logging.getLogger()


def write_checkout(folder: Path) -> Path:
    """Write a folder that looks like a checkout and whose trainer is this very program."""
    flags = json.loads((Path(__file__).parents[2] / "sd-scripts" / "library" / "cli" / "kohya_flags.json").read_text())
    (folder / "library").mkdir(parents=True)
    (folder / "library" / "train_util.py").write_text("".join(map(definition, flags)))
    (folder / "train_network.py").touch()
    shutil.copy(__file__, folder / "flux_train_network.py")
    return folder


def definition(row: dict[str, Any]) -> str:
    """Return the line that defines a flag, as kohya's sources do."""
    if row["type"] == "flag":
        return f'parser.add_argument("{row["flag"]}", action="store_true")\n'
    kind = {"int": ", type=int", "float": ", type=float"}.get(row["type"], "")
    choices = f", choices={row['choices']!r}" if row.get("choices") else ""
    several = f", nargs={row['nargs']!r}" if row.get("nargs") else ""
    return f'parser.add_argument("{row["flag"]}"{kind}{choices}{several})\n'


def main() -> None:
    """Print and save what a training of the given data set would."""
    from rich.console import Console
    from rich.logging import RichHandler

    logging.basicConfig(level="INFO", format="%(message)s", handlers=[RichHandler(console=Console(stderr=True))])
    parser = argparse.ArgumentParser()
    for name in ("dataset_config", "output_dir", "output_name", "resume", "sample_prompts"):
        parser.add_argument(f"--{name}")
    for name in ("initial_epoch", "max_train_epochs", "save_every_n_epochs", "sample_every_n_steps"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--save_state", action="store_true")
    args, _ = parser.parse_known_args()
    train(args, load(args))


def load(args: argparse.Namespace) -> int:
    """Print what comes before the training; returns the number of batches of an epoch."""
    subset = tomllib.loads(Path(args.dataset_config).read_text())["datasets"][0]["subsets"][0]
    images = [path for path in Path(subset["image_dir"]).iterdir() if path.suffix == ".png"]
    log.info("Using DreamBooth method.")
    log.info("preparing accelerator")
    print("accelerator device: cpu")
    log.info("Building Flux model dev from BFL checkpoint")
    log.info("Loading state dict from /a/path/that/is/rather/long/models/unet/flux1-dev.safetensors")
    time.sleep(5 * STEP_S)
    for what in ("latents", "Text Encoder outputs"):
        log.info("caching %s with caching strategy.", what)
        log.info("caching %s...", what)
        for _ in tqdm(images, smoothing=1):
            time.sleep(5 * STEP_S)
    print("import network module: networks.lora_flux")
    print("prepare optimizer, data loader etc.")
    return len(images) * int(subset["num_repeats"])


def train(args: argparse.Namespace, batches: int) -> None:
    """Draw the bar of a training, with samples and saves; as kohya does, it begins at 0 whatever was trained before."""
    total = batches * args.max_train_epochs
    if args.resume:
        log.info("resume training from local state: %s", args.resume)
        assert (Path(args.resume) / "random_states_0.pkl").is_file()
    first = args.initial_epoch or 1
    print("running training / 学習開始")
    print(f"  num train images * repeats / 学習画像の数×繰り返し回数: {batches}")
    print(f"  num batches per epoch / 1epochのバッチ数: {batches}")
    print(f"  num epochs / epoch数: {args.max_train_epochs}")
    print("  gradient accumulation steps / 勾配を合計するステップ数 = 1")
    print(f"  total optimization steps / 学習ステップ数: {total}")
    bar, step = tqdm(range(total), smoothing=0, desc="steps"), 0
    for epoch in range(first, args.max_train_epochs + 1):
        print(f"\nepoch {epoch}/{args.max_train_epochs}\n")
        for _ in range(batches):
            while step == HOLD_AFTER:
                bar.refresh()
                time.sleep(0.2)
            time.sleep(STEP_S)
            step += 1
            bar.update(1)
            sample(args, step)
            bar.set_postfix(avr_loss=1 / step)
        if epoch % args.save_every_n_epochs == 0 and epoch < args.max_train_epochs:
            save_lora(args, f"-{epoch:06d}")
            save_state(args, f"-{epoch:06d}-state", epoch, step, f"saving state at epoch {epoch}")
    save_state(args, "-state", args.max_train_epochs, step, "saving last state.")
    save_lora(args, "")
    log.info("model saved.")


def sample(args: argparse.Namespace, step: int) -> None:
    """Print what the drawing of a sample prints."""
    if args.sample_every_n_steps and step % args.sample_every_n_steps == 0:
        log.info("")
        log.info("generating sample images at step / サンプル画像生成 ステップ: %d", step)
        log.info("prompt: %s", Path(args.sample_prompts).read_text())
        for _ in tqdm(range(4)):
            time.sleep(STEP_S)


def save_lora(args: argparse.Namespace, suffix: str) -> None:
    """Write a LoRA of two numbers."""
    path = Path(args.output_dir) / f"{args.output_name}{suffix}.safetensors"
    print(f"\nsaving checkpoint: {path}")
    write_tensors(path)


def save_state(args: argparse.Namespace, suffix: str, epoch: int, step: int, words: str) -> None:
    """Write the files of a state, in accelerate's order."""
    if not args.save_state:
        return
    folder = Path(args.output_dir) / f"{args.output_name}{suffix}"
    folder.mkdir(exist_ok=True)
    log.info("")
    log.info(words)
    (folder / "train_state.json").write_text(json.dumps({"current_epoch": epoch, "current_step": step}))
    write_tensors(folder / "model.safetensors")
    for name in ("optimizer.bin", "scheduler.bin", "random_states_0.pkl"):
        time.sleep(STEP_S)
        with zipfile.ZipFile(folder / name, "w") as archive:
            archive.writestr("archive/data.pkl", "numbers")


def write_tensors(path: Path) -> None:
    """Write the smallest LoRA that can be verified."""
    head = json.dumps({"a.lora_up.weight": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + struct.pack("<2f", 1.0, 2.0))


if __name__ == "__main__":
    sys.exit(main())
