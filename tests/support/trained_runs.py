"""Run folders as a trainer leaves them: progress with validation, samples, LoRA files, log and exit record. Nothing is trained."""

import json
import os
import time
from pathlib import Path

from PIL import Image

from fluxgym.runs.exit_record import ExitRecord, write_exit_record
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.process_identity import identify
from tests.support.photos import write_cats
from tests.support.runs import make_run, record_processes
from tests.support.small_installation import write_safetensors

PROMPTS = ("sks cat on a windowsill", "sks cat in a space suit")
STEPS_PER_EPOCH = 20
VALIDATION = {40: 0.30, 80: 0.21, 120: 0.25}  # the lowest one is not the last


def make_trained_run(outputs: Path, name: str, *, last_step: int, total_steps: int = 120, **state: object) -> RunPaths:
    """Make a run that was trained up to a step: a sample and a LoRA file every 40 steps, which are two epochs."""
    settings = {"base_model": "pocket", "concept_sentence": "sks cat", "max_train_epochs": total_steps // STEPS_PER_EPOCH}
    run = make_run(outputs, name, **settings | {"sample_every_n_steps": 40, "timestamp": time.time() - 300} | state)
    write_cats(run.dataset, count=2, size=64)
    run.sample_prompts.write_text("".join(f"{prompt} --w 64 --h 64\n" for prompt in PROMPTS))
    run.training_log.write_text("loading the model\nWARNING: a warning\ncaching\n")
    run.samples.mkdir()
    now = time.time()
    write_line(run, time=now - 200, phase="loading")
    for step in range(1, last_step + 1):
        train_step(run, step, total_steps, now - last_step + step)
    return run


def write_line(run: RunPaths, **fields: object) -> None:
    """Append a line to progress.jsonl."""
    with run.progress.open("a") as file:
        file.write(json.dumps({"attempt": 1} | fields) + "\n")


def train_step(run: RunPaths, step: int, total_steps: int, at: float) -> None:
    """Write what a trainer writes at a step: progress, and at every 40th step samples, validation and a LoRA file."""
    epoch = (step - 1) // STEPS_PER_EPOCH + 1
    line = {"time": at, "step": step, "total_steps": total_steps, "epoch": epoch}
    write_line(run, **line, phase="training", loss=0.2 + 1 / step, lr=1e-3, s_per_it=1.0)
    if step % 40:
        return
    for index in range(len(PROMPTS)):
        Image.new("RGB", (64, 64), (step, 80 * index, 90)).save(
            run.samples / f"{run.slug}_{step:06d}_{index:02d}_20250101{step:06d}_42.png"
        )
    write_line(run, **line, phase="validating", val_loss=VALIDATION[step])
    if step < total_steps:
        write_safetensors(run.folder / f"{run.slug}-{epoch:06d}.safetensors", 1_500_000)


def mark_as_running(run: RunPaths) -> None:
    """Record this process as the run's trainer and supervisor, so that the run has the status running."""
    me = identify(os.getpid(), f"id-{run.slug}")
    record_processes(run, f"id-{run.slug}", 1, me, me)
    for path in (run.training_pid, run.monitor_pid):
        path.write_text(str(os.getpid()))


def record_end(run: RunPaths, status: str, **fields: object) -> None:
    """Record the end of the run's only attempt, 95 seconds after it began."""
    ended_at = time.time()
    record_processes(run, f"id-{run.slug}", 1, None, None, started_at=ended_at - 95)
    known = {"reason_code": "", "reason": "", "started_at": ended_at - 95, "ended_at": ended_at}
    write_exit_record(run, ExitRecord(**{"run_id": f"id-{run.slug}", "attempt": 1, "status": status} | known | fields))
