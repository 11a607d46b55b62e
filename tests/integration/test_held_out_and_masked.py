"""Whole trainings with held-out images and masks: validation does not affect training, also after a resume; masked pixels are not learned."""

import json

import pytest
import tomli_w
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from library.cli.parse import parse
from library.errors import TrainerError
from library.process import StopFlag, StopRequested
from library.training.preflight.settings import check_settings
from library.training.progress_log import ProgressLog
from library.training.setup import build_trainer
from tests.support.photos import write_cats
from tests.support.tiny_models import model_flags
from tests.support.trainer_process import run_trainer
from tests.support.training_data import shared_models


@pytest.fixture(name="cats")
def fixture_cats(tmp_path):
    return write_cats(tmp_path / "cats", count=4)


@pytest.fixture(autouse=True)
def one_thread():
    """The models are so small that threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class StopWhileValidating(StopFlag):
    """A stop request that arrives while the images are validated after a step."""

    def __init__(self, progress, step):
        super().__init__()
        self.progress, self.step = progress, step

    def check(self):
        if (self.progress.phase, self.progress.step) == ("validating", self.step):
            raise StopRequested


def argv_of(out, cats, *extra, **subset):
    subset = {"image_dir": str(cats), "num_repeats": 2, "caption_extension": ".txt"} | subset
    toml = out.parent / f"{out.name}.toml"
    toml.write_text(tomli_w.dumps({"datasets": [{"resolution": 64, "subsets": [subset]}]}))
    return [
        *model_flags(shared_models()), "--dataset_config", str(toml), "--output_dir", str(out), "--output_name", "cat", "--seed", "3",
        "--network_module", "networks.lora_flux", "--network_dim", "2", "--learning_rate", "1e-3", "--max_train_epochs", "2", "--cache_latents",
        "--cache_text_encoder_outputs", "--timestep_sampling", "shift", "--guidance_scale", "1.0", "--model_prediction_type", "raw", *extra,
    ]  # fmt: skip


def train(out, cats, *extra, stop_at=None, **subset):
    progress = ProgressLog(str(out))
    build_trainer(check_settings(parse(argv_of(out, cats, *extra, **subset))), progress, StopWhileValidating(progress, stop_at)).run()


def lines(out):
    return [json.loads(line) for line in (out / "progress.jsonl").read_text().splitlines()]


def val_losses(out):
    return {line["step"]: line["val_loss"] for line in lines(out) if "val_loss" in line}


def same(first, second):
    a, b = load_file(first / "cat.safetensors"), load_file(second / "cat.safetensors")
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


SPLIT = ["--validation_split", "0.25"]


def test_validation_does_not_change_training_and_continues_after_stop(cats, tmp_path):
    seldom, often, stopped = tmp_path / "seldom", tmp_path / "often", tmp_path / "stopped"
    train(seldom, cats, *SPLIT)
    train(often, cats, *SPLIT, "--validate_every_n_steps", "1")
    assert same(seldom, often)
    assert list(val_losses(seldom)) == [6, 12]  # three of four images, twice each
    assert list(val_losses(often)) == list(range(1, 13))
    assert len(set(val_losses(often).values())) > 6
    assert val_losses(often)[12] == val_losses(seldom)[12]
    for step, resume in ((5, []), (6, ["--resume", str(stopped / "cat-step00000005-state")])):  # the sixth ends the epoch
        with pytest.raises(StopRequested):
            train(stopped, cats, *SPLIT, "--validate_every_n_steps", "1", *resume, stop_at=step)
        assert step not in val_losses(stopped)
    train(stopped, cats, *SPLIT, "--validate_every_n_steps", "1", "--resume", str(stopped / "cat-step00000006-state"))
    assert same(often, stopped)
    assert val_losses(stopped) == val_losses(often)
    with safe_open(often / "cat.safetensors", "pt") as file:
        metadata = file.metadata()
    assert (metadata["ss_num_validation_images"], metadata["ss_num_train_images"]) == ("1", "6")


def test_masked_pixels_do_not_affect_weights(cats, tmp_path):
    """All black: the training is refused. All white: the result is the same as without masks."""
    (tmp_path / "masks").mkdir()
    for index in range(4):
        Image.new("L", (96, 96), 0).save(tmp_path / "masks" / f"cat {index}.png")
    with pytest.raises(TrainerError, match="nothing would be learned"):
        train(tmp_path / "black", cats, "--masked_loss", conditioning_data_dir=str(tmp_path / "masks"))
    for index in range(4):
        Image.new("L", (96, 96), 255).save(tmp_path / "masks" / f"cat {index}.png")
    train(tmp_path / "white", cats, "--masked_loss", conditioning_data_dir=str(tmp_path / "masks"))
    train(tmp_path / "plain", cats)
    assert same(tmp_path / "white", tmp_path / "plain")
    ups = {name: tensor for name, tensor in load_file(tmp_path / "white" / "cat.safetensors").items() if "lora_up" in name}
    assert all(tensor.abs().max() > 0 for tensor in ups.values())


def test_preserved_images_pull_output_toward_base_model(cats, tmp_path):
    """Alone they teach nothing: what the untrained LoRA says is what is asked of it. Beside others they hold these back."""
    preserved = {"custom_attributes": {"diff_output_preservation": True}}
    with pytest.raises(TrainerError, match="Nothing was learned"):
        train(tmp_path / "alone", cats, **preserved)
    assert {line["loss"] for line in lines(tmp_path / "alone") if "loss" in line} == {0.0}
    train(tmp_path / "free", cats)
    held = load_file(resumed_with(tmp_path / "free", cats, tmp_path / "held", **preserved))
    free = load_file(tmp_path / "free" / "cat.safetensors")
    ups = [name for name in free if "lora_up" in name]
    assert all(line["loss"] > 0 for line in lines(tmp_path / "held") if "loss" in line)
    assert sum(held[name].norm() for name in ups) < 0.99 * sum(free[name].norm() for name in ups)  # weight decay alone: 0.9999


def resumed_with(source, cats, out, **subset):
    """Train on from another training's LoRA; returns the LoRA that comes of it."""
    train(out, cats, "--network_weights", str(source / "cat.safetensors"), **subset)
    return out / "cat.safetensors"


def test_debug_dataset_prints_data_and_trains_nothing(cats, tmp_path):
    done = run_trainer(*argv_of(tmp_path / "out", cats, *SPLIT, "--debug_dataset"))
    assert done.returncode == 0
    assert "3 images, 6 with repeats, in 6 batches per epoch; 1 held out" in done.stdout
    assert not (tmp_path / "out").exists()
