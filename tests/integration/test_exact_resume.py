"""A training that was stopped and resumed, any number of times, in any way, writes the same file as the uninterrupted one."""

import signal

import pytest

from tests.support.photos import write_cats
from tests.support.stops import Stop, flags, losses_of, run_with_stops, steps_of, write_dataset
from tests.support.tiny_models import write_tiny_models
from tests.support.trainer_process import run_trainer, same_tensors


@pytest.fixture(scope="module", name="models")
def fixture_models(tmp_path_factory):
    return write_tiny_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module", name="images")
def fixture_images(tmp_path_factory):
    return write_cats(tmp_path_factory.mktemp("images"), count=4, size=64)


def test_stops_by_sigterm_and_sigkill_give_same_files(models, images, tmp_path):
    """With everything that has a state or draws: accumulation, an average, a schedule, shuffled captions, dropout, flips, samples."""
    dataset = write_dataset(
        tmp_path / "d.toml", images, repeats=3, shuffle_caption=True, caption_dropout_rate=0.2, flip_aug=True, keep_tokens=1
    )
    (tmp_path / "prompts.txt").write_text("sks cat --w 64 --h 64 --s 1\n")
    extra = [
        "--gradient_accumulation_steps", "2", "--ema_decay", "0.9", "--lr_scheduler", "cosine", "--ip_noise_gamma", "0.1",
        "--save_every_n_steps", "2", "--save_state", "--sample_prompts", str(tmp_path / "prompts.txt"), "--sample_every_n_steps", "4",
    ]  # fmt: skip
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    done = run_trainer(*flags(models, dataset, straight, *extra))
    assert done.returncode == 0, done.stderr
    run_with_stops(flags(models, dataset, stopped, *extra), stopped, [Stop(3, signal.SIGKILL), Stop(8, signal.SIGTERM)])
    assert same_tensors(straight / "cat.safetensors", stopped / "cat.safetensors")
    assert same_tensors(straight / "cat-step00000010.safetensors", stopped / "cat-step00000010.safetensors")
    assert losses_of(straight) == losses_of(stopped)  # a step that was made again after the kill is the same step
    assert sorted(set(steps_of(stopped))) == list(range(1, 13))
    drawn = [sorted({path.name.split("_")[1] for path in (out / "sample").iterdir()}) for out in (straight, stopped)]
    assert drawn[0] == drawn[1] == ["000004", "000008", "000012"]
