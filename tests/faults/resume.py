"""Faults of resume: trainings that are stopped, frozen and killed at random steps, tampered checkpoints, and kills while checkpoints are written."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from fluxgym.contract.checkpoint_manifest import Manifest, digest
from fluxgym.contract.files import MANIFEST, TRAIN_STATE, step_suffix
from fluxgym.runs.checkpoints import newest_verified, refuse_checkpoint
from fluxgym.runs.paths import RunPaths
from fluxgym.trainers.builtin import BuiltinBackend
from library.errors import CheckpointError, TrainerError
from library.models.flux1.layer_names import FLUX_PREFIX
from library.training.checkpoint import CheckpointParts, TrainState, read_train_state
from library.training.saving import Saver
from networks.lora_flux import LoRASpec, create_network
from tests.faults.processes import read_counts
from tests.faults.result import ROOT, Result, try_each
from tests.support.photos import write_cats
from tests.support.runs import make_run
from tests.support.stops import Stop, flags, losses_of, run_with_stops, write_dataset
from tests.support.tiny_models import make_flux, write_tiny_models
from tests.support.trainer_config import trainer_config
from tests.support.trainer_process import run_trainer, same_tensors

STEPS = 24  # 4 images, 3 repeats, 2 epochs, batch 1
NUM_STOPS = (1, 2, 5)
MAX_FROZEN_S = 0.5
SETTINGS: tuple[tuple[tuple[str, ...], dict[str, object]], ...] = (
    (("--gradient_accumulation_steps", "1"), {}),
    (("--optimizer_type", "AdamW8bit", "--lr_scheduler", "cosine", "--cache_text_encoder_outputs"), {"flip_aug": True}),
    (("--gradient_accumulation_steps", "3", "--ema_decay", "0.9"), {"shuffle_caption": True, "caption_tag_dropout_rate": 0.3}),
    (("--optimizer_type", "Prodigy", "--learning_rate", "1.0"), {"caption_dropout_rate": 0.3}),
    (("--optimizer_type", "AdamWScheduleFree", "--network_train_unet_only"), {"enable_wildcard": True}),
    (("--optimizer_type", "Adafactor", "--max_grad_norm", "0", "--full_bf16", "--mixed_precision", "bf16"), {}),
)


def exact_resumes(folder: Path, count: int, seed: int) -> Result:
    """Stop, freeze and kill trainings at random steps: each ends with the LoRA of the uninterrupted one, bit for bit, and the same losses."""
    models, images = write_tiny_models(folder / "models"), write_cats(folder / "images", count=4, size=64)

    def attempt(number: int, dice: random.Random) -> str:
        extra, subset = SETTINGS[number % len(SETTINGS)]
        dataset = write_dataset(folder / "dataset.toml", images, repeats=3, **subset)
        every = ("--save_every_n_steps", str(dice.randint(1, 5)), "--save_state", "--save_last_n_steps_state", "6")
        straight, stopped = folder / f"straight-{number % len(SETTINGS)}", folder / f"stopped-{number}"
        if not straight.exists():
            done = run_trainer(*flags(models, dataset, straight, *extra))
            assert done.returncode == 0, done.stderr
        stops = random_stops(dice, NUM_STOPS[number % len(NUM_STOPS)])
        run_with_stops(flags(models, dataset, stopped, *extra, *every), stopped, stops)
        same = same_tensors(straight / "cat.safetensors", stopped / "cat.safetensors") and losses_of(straight) == losses_of(stopped)
        shutil.rmtree(stopped)
        return "" if same else f"{extra} {stops}"

    return try_each(count, seed, attempt)


def random_stops(dice: random.Random, count: int) -> list[Stop]:
    """Return stops at different steps, about half of them with SIGKILL and half after a time in which the trainer was frozen."""
    steps = sorted(dice.sample(range(1, STEPS), count))
    signals = (signal.SIGTERM, signal.SIGKILL)
    return [Stop(step, dice.choice(signals), frozen_s=dice.choice((0.0, dice.uniform(0, MAX_FROZEN_S)))) for step in steps]


def killed_saves(folder: Path, count: int, seed: int) -> Result:
    """Kill -9 a process while it writes and removes checkpoints: a complete one is always there, and none is torn."""
    command = [sys.executable, "-m", "tests.faults.saves", str(folder), str(count), str(seed)]
    search_path = os.pathsep.join((str(ROOT), str(ROOT / "sd-scripts")))
    environment = os.environ | {"PYTHONPATH": search_path, "OMP_NUM_THREADS": "1"}
    result = read_counts(subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False))
    return Result(tried=result.tried, held=result.held, seed=seed, note=result.note)


class Checkpoints:
    """A writer of checkpoints of a tiny network into the folder of a run."""

    def __init__(self, run: RunPaths) -> None:
        self.network = create_network({FLUX_PREFIX: make_flux()}, LoRASpec(rank=1, alpha=1.0), seed=1)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-2)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda _: 1.0)
        config = trainer_config(output_dir=run.folder, output_name=run.slug, save_last_n_steps_state=1).save
        self.saver = Saver(config, self.network, {}, epoch_interval=None)
        for parameter in self.network.parameters():
            parameter.grad = torch.ones_like(parameter)
        self.optimizer.step()

    def write(self, step: int) -> Path:
        """Write the checkpoint of a step and return its folder."""
        state = TrainState(step=step, epoch=1, batch_in_epoch=step % 5, total_steps=1000, seed=42, fixed={"seed": 42}, losses=[0.5])
        parts = CheckpointParts(network=self.network, optimizer=self.optimizer, scheduler=self.scheduler)
        return self.saver.save_state(step_suffix(step), parts, state)

    def write_and_remove(self, step: int) -> None:
        """Write the checkpoint of a step and remove the older ones, as a training with --save_last_n_steps_state does."""
        self.write(step)
        self.saver.drop_old_steps(step)


BAD_VALUES: dict[str, tuple[Any, ...]] = {
    "step": (-1, "3", 1.5, None, True, 10**30, 7), "epoch": (-1, "x", None, 9), "batch_in_epoch": (-1, 0.5, None, [], "1"),
    "total_steps": (-1, None, "1000", 999), "seed": ("42", None, 1.5, []), "fixed": ([], None, 7, "x"), "settings": ([], 7), "begun_by": ([], "x"),
    "losses": ("x", 7, ["x"], [None], {}), "log_folder": (7, [], None),
}  # fmt: skip


def tampered_checkpoints(folder: Path, count: int, seed: int) -> Result:
    """Damage the newest of two checkpoints in every way: the trainer refuses it in a sentence, and the app resumes from the one before."""
    run = make_run(folder, "cat", status="stopped")
    checkpoints = Checkpoints(run)
    before, newest = checkpoints.write(3), checkpoints.write(6)
    whole = folder / "whole"
    newest.rename(whole)

    def attempt(number: int, dice: random.Random) -> str:
        shutil.copytree(whole, newest)
        try:
            harm = sorted(HARMS)[number % len(HARMS)]
            done = HARMS[harm](newest, dice)
            return "" if _is_unchanged(newest, whole) else _wrongly_used(run, newest, before, f"{harm} {done}")
        finally:
            shutil.rmtree(newest, ignore_errors=True)
            run.refused_checkpoints.unlink(missing_ok=True)

    return try_each(count, seed, attempt)


def _wrongly_used(run: RunPaths, newest: Path, before: Path, harm: str) -> str:
    """Return what is wrong in how trainer and app handle a damaged checkpoint, "" if nothing is.

    A checkpoint that only the trainer refuses is recorded by its name, as the supervisor does; the app must then choose the one before.
    """
    try:
        read_train_state(newest)
    except TrainerError as error:
        refusal = error
    else:
        return f"{harm}: the trainer takes it"
    if newest.name not in str(refusal) or "\n" in str(refusal):
        return f"{harm}: the trainer's sentence is {refusal}"
    chosen = newest_verified(run, BuiltinBackend())
    if chosen is not None and chosen.folder == newest and isinstance(refusal, CheckpointError) and refusal.checkpoint == newest.name:
        refuse_checkpoint(run, chosen)
        chosen = newest_verified(run, BuiltinBackend())
    return "" if chosen is not None and chosen.folder == before else f"{harm}: the app chooses {chosen and chosen.name}"


def _is_unchanged(folder: Path, whole: Path) -> bool:
    """Return True if a change made no difference to what is read: equal files, and a manifest with equal values but for the run's id."""
    names = {path.name for path in whole.iterdir()}
    if not all((folder / name).is_file() and not (folder / name).is_symlink() for name in names):
        return False
    try:
        manifests = [Manifest.from_json(json.loads((each / MANIFEST).read_bytes())) for each in (folder, whole)]
        values = [(manifest.files, manifest.step, manifest.epoch, manifest.total_steps) for manifest in manifests]
        others = names - {MANIFEST}
        return values[0] == values[1] and all((folder / name).read_bytes() == (whole / name).read_bytes() for name in others)
    except (OSError, ValueError):
        return False


def _any_file(folder: Path, dice: random.Random) -> Path:
    return dice.choice(sorted(folder.iterdir()))


def _flip(folder: Path, dice: random.Random) -> str:
    path = _any_file(folder, dice)
    changed = bytearray(path.read_bytes())
    position = dice.randrange(len(changed))
    changed[position] ^= 1 << dice.randrange(8)
    path.write_bytes(changed)
    return f"{path.name} at {position}"


def _cut(folder: Path, dice: random.Random) -> str:
    path = _any_file(folder, dice)
    path.write_bytes(path.read_bytes()[: dice.randrange(path.stat().st_size)])
    return path.name


def _grow(folder: Path, dice: random.Random) -> str:
    path = _any_file(folder, dice)
    path.write_bytes(path.read_bytes() + dice.randbytes(dice.randint(1, 9)))
    return path.name


def _remove(folder: Path, dice: random.Random) -> str:
    path = _any_file(folder, dice)
    path.unlink()
    return path.name


def _swap(folder: Path, dice: random.Random) -> str:
    one, other = dice.sample(sorted(folder.iterdir()), 2)
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)
    return f"{one.name} {other.name}"


def _replace(folder: Path, dice: random.Random) -> str:
    path = _any_file(folder, dice)
    path.unlink()
    dice.choice((os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero"), lambda path: path.symlink_to("/nowhere")))(path)
    return path.name


def _leave_out(folder: Path, dice: random.Random) -> str:
    manifest = json.loads((folder / MANIFEST).read_text())
    name = dice.choice([name for name in manifest["files"] if not name.startswith("optimizer.s")])  # plain SGD has no tensors
    del manifest["files"][name]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return name


def _forge(folder: Path, dice: random.Random) -> str:
    """Change a value of the position, with the right hash in the manifest."""
    key = dice.choice(sorted(BAD_VALUES))
    value = dice.choice(BAD_VALUES[key])
    path = folder / TRAIN_STATE
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][TRAIN_STATE] = asdict(digest(path))
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return f"{key}={value!r}"


HARMS: dict[str, Callable[[Path, random.Random], str]] = {
    "a bit flipped": _flip, "cut": _cut, "grown": _grow, "removed": _remove, "swapped": _swap, "replaced": _replace, "left out": _leave_out,
    "forged": _forge,
}  # fmt: skip
