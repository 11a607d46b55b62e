"""Trainings as processes that are stopped at given steps and resumed, for the tests of exact resume."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import tomli_w

from tests.support.tiny_models import model_flags
from tests.support.trainer_process import SCRIPT, run_trainer, trainer_environment

LIMIT_S = 300


@dataclass(frozen=True)
class Stop:
    """A signal, SIGTERM or SIGKILL, that is sent after a number of steps; before that, the trainer is frozen for some seconds if they are given."""

    step: int
    number: int = signal.SIGTERM
    frozen_s: float = 0.0


def write_dataset(path: Path, images: Path, *, repeats: int = 2, batch_size: int = 1, **subset: object) -> Path:
    """Write a dataset.toml of one folder at 64 px; more options of the subset by name."""
    subsets = [{"image_dir": str(images), "num_repeats": repeats, "caption_extension": ".txt", **subset}]
    path.write_text(tomli_w.dumps({"datasets": [{"resolution": 64, "batch_size": batch_size, "subsets": subsets}]}))
    return path


def flags(models: Path, dataset: Path, out: Path, *extra: str, epochs: int = 2) -> list[str]:
    """Return a short float32 training's command line; `extra` comes last and so wins."""
    return [
        *model_flags(models), "--dataset_config", str(dataset), "--output_dir", str(out), "--output_name", "cat", "--seed", "7",
        "--network_module", "networks.lora_flux", "--learning_rate", "1e-2", "--max_train_epochs", str(epochs), "--cache_latents",
        "--timestep_sampling", "shift", "--model_prediction_type", "raw", "--max_data_loader_n_workers", "2", *extra,
    ]  # fmt: skip


def run_until(argv: list[str], out: Path, stop: Stop) -> int:
    """Run a training until a stop; returns its exit code (negative for a signal)."""
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), *argv], env=trainer_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + LIMIT_S
    while process.poll() is None and time.monotonic() < deadline:
        if steps_of(out)[-1:] >= [stop.step]:
            _send(process, stop)
            break
        time.sleep(0.02)
    process.communicate(timeout=LIMIT_S)
    return process.returncode


def _send(process: subprocess.Popen[bytes], stop: Stop) -> None:
    if stop.frozen_s:
        process.send_signal(signal.SIGSTOP)
        time.sleep(stop.frozen_s)
        process.send_signal(signal.SIGCONT)
        time.sleep(stop.frozen_s)  # it trains on, and is stopped at a later step
    process.send_signal(stop.number)


def steps_of(out: Path) -> list[int]:
    """Return the steps with a loss in progress.jsonl, in file order."""
    path = out / "progress.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line)["step"] for line in lines if '"loss"' in line and line.endswith("}")]


def losses_of(out: Path) -> dict[int, float]:
    """Return the loss of every step; a step that was trained twice must have the same loss both times."""
    losses: dict[int, float] = {}
    for line in map(json.loads, (out / "progress.jsonl").read_text().splitlines()):
        if "loss" in line:
            assert losses.setdefault(line["step"], line["loss"]) == line["loss"], f"step {line['step']} has another loss the second time"
    return losses


def last_checkpoint(out: Path) -> Path | None:
    """Return the checkpoint with the most steps, None without any."""
    found = [(json.loads(path.read_text())["step"], path.parent) for path in out.glob("*-state/manifest.json")]
    return max(found)[1] if found else None


def run_with_stops(argv: list[str], out: Path, stops: Iterable[Stop]) -> None:
    """Run a training to its end through stops, each time resumed from the latest checkpoint, or from the beginning without one."""
    for stop in stops:
        code = run_until([*argv, *_resumption(out)], out, stop)
        assert code in (0, 143, -stop.number), f"exit code {code} at {stop}"
    done = run_trainer(*argv, *_resumption(out))
    assert done.returncode == 0, done.stderr


def _resumption(out: Path) -> list[str]:
    checkpoint = last_checkpoint(out)
    return ["--resume", str(checkpoint)] if checkpoint else []
