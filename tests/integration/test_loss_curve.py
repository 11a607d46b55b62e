"""Optimizations for speed do not change the loss: the loss of every step is that of the plain float32 training over the same draws."""

import statistics

from tests.support.photos import write_cats
from tests.support.tiny_models import write_tiny_models
from tests.support.trainer_process import progress_lines, run_trainer, trainer_flags, write_dataset_toml


def losses(folder, name, *extra, without=()):
    argv = trainer_flags(folder / "models", folder / "dataset.toml", folder / name, *extra, tier="16G", epochs=2)
    done = run_trainer(*(flag for flag in argv if flag not in without))
    assert done.returncode == 0, done.stderr
    return [line["loss"] for line in progress_lines(folder / name) if "loss" in line]


def test_losses_of_fast_settings_equal_those_in_float32(tmp_path):
    write_tiny_models(tmp_path / "models")
    write_dataset_toml(tmp_path / "dataset.toml", write_cats(tmp_path / "images", count=4))
    fast = losses(tmp_path, "fast")
    exact = losses(tmp_path, "exact", "--mixed_precision", "no", without=("--fp8_base", "--gradient_checkpointing"))
    assert len(fast) == 16
    apart = [abs(loss - true) / true for loss, true in zip(fast, exact, strict=True)]
    assert statistics.median(apart) < 0.003
    assert max(apart) < 0.02
    assert statistics.pstdev(exact) > 10 * statistics.median(
        abs(a - b) for a, b in zip(fast, exact, strict=True)
    )  # the curve is not constant
