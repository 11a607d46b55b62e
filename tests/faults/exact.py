"""Faults against exact resume: SIGTERM and kill -9 at random moments, 1, 2 or 5 times, under settings that draw and keep states of every kind."""

import random
import shutil
import signal
from pathlib import Path

from tests.faults.truth import Result
from tests.support.photos import write_cats
from tests.support.stops import Stop, flags, losses_of, run_with_stops, write_dataset
from tests.support.tiny_models import write_tiny_models
from tests.support.trainer_process import run_trainer, same_tensors

STEPS = 24  # 4 images, 3 repeats, 2 epochs, batch 1
NUM_STOPS = (1, 2, 5)
SETTINGS: tuple[tuple[tuple[str, ...], dict[str, object]], ...] = (
    (("--gradient_accumulation_steps", "1"), {}),
    (("--optimizer_type", "AdamW8bit", "--lr_scheduler", "cosine", "--cache_text_encoder_outputs"), {"flip_aug": True}),
    (("--gradient_accumulation_steps", "3", "--ema_decay", "0.9"), {"shuffle_caption": True, "caption_tag_dropout_rate": 0.3}),
    (("--optimizer_type", "Prodigy", "--learning_rate", "1.0"), {"caption_dropout_rate": 0.3}),
    (("--optimizer_type", "AdamWScheduleFree", "--network_train_unet_only"), {"enable_wildcard": True}),
    (("--optimizer_type", "Adafactor", "--max_grad_norm", "0", "--full_bf16", "--mixed_precision", "bf16"), {}),
)


def exact_resumes(folder: Path, count: int) -> Result:
    """Stop trainings at random steps: each ends with the LoRA of the uninterrupted one, bit for bit, and with the same loss at every step."""
    models, images = write_tiny_models(folder / "models"), write_cats(folder / "images", count=4, size=64)
    dice, held, failures = random.Random(5), 0, []
    for number in range(count):
        extra, subset = SETTINGS[number % len(SETTINGS)]
        dataset = write_dataset(folder / "dataset.toml", images, repeats=3, **subset)
        every = ("--save_every_n_steps", str(dice.randint(1, 5)), "--save_state", "--save_last_n_steps_state", "6")
        straight, stopped = folder / f"straight-{number % len(SETTINGS)}", folder / f"stopped-{number}"
        if not straight.exists():
            done = run_trainer(*flags(models, dataset, straight, *extra))
            assert done.returncode == 0, done.stderr
        stops = _stops(dice, NUM_STOPS[number % len(NUM_STOPS)])
        run_with_stops(flags(models, dataset, stopped, *extra, *every), stopped, stops)
        same = same_tensors(straight / "cat.safetensors", stopped / "cat.safetensors") and losses_of(straight) == losses_of(stopped)
        held += same
        failures += [] if same else [f"{extra} {stops}"]
        shutil.rmtree(stopped)
    return Result(tried=count, held=held, note="; ".join(failures)[:200])


def _stops(dice: random.Random, count: int) -> list[Stop]:
    steps = sorted(dice.sample(range(1, STEPS), count))
    return [Stop(step, dice.choice((signal.SIGTERM, signal.SIGKILL))) for step in steps]
