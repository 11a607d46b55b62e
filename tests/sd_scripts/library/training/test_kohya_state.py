"""A state folder in the layout of accelerate, as kohya writes it, is loaded; a file that could run code is refused with its name."""

import json
import pickle
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from torch.optim.lr_scheduler import LambdaLR

from library.errors import TrainerError
from library.models.flux1.layer_names import FLUX_PREFIX
from library.optim.optimizers import create_optimizer
from library.training.kohya_state import is_kohya_state, load_kohya_state, position_of, unpickle
from networks.lora_flux import LoRASpec, create_network
from tests.support.tiny_models import make_flux
from tests.support.trainer_config import trainer_config


def parts(optimizer="AdamW", halves=(0, 1)):
    """Return a network in two groups, in the order of `halves`: kohya puts the text encoder's first, this trainer the transformer's."""
    network = create_network({FLUX_PREFIX: make_flux()}, LoRASpec(rank=2, alpha=2.0), seed=1)
    parameters = list(network.parameters())
    both = [parameters[:6], parameters[6:]]
    made = create_optimizer(trainer_config(optimizer_type=optimizer).optim, [{"params": both[half], "lr": 0.01} for half in halves])
    return network, made, LambdaLR(made, lambda step: 1 / (1 + step))


def train(network, optimizer, scheduler, first, last):
    for step in range(first, last):
        random = torch.Generator().manual_seed(step)
        for parameter in network.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=random)
        optimizer.step()
        scheduler.step()


def write(folder, network, optimizer, scheduler, *, step=5, epoch=1):
    """Write what accelerate does for kohya: kohya's own count begins again at each resume."""
    folder.mkdir()
    save_file({name: tensor.clone() for name, tensor in network.state_dict().items()}, folder / "model.safetensors")
    torch.save(optimizer.state_dict(), folder / "optimizer.bin")
    torch.save(scheduler.state_dict(), folder / "scheduler.bin")
    (folder / "random_states_0.pkl").write_bytes(pickle.dumps({"never": "read"}))
    (folder / "train_state.json").write_text(json.dumps({"current_epoch": epoch, "current_step": step}))


@pytest.fixture(name="folder")
def fixture_folder(tmp_path):
    return tmp_path / "cat-000001-state"


@pytest.mark.parametrize("kind", ["AdamW", "AdamW8bit"])
def test_kohya_state_restores_network_optimizer_and_schedule(kind, folder):
    straight = parts(kind, halves=(1, 0))
    train(*straight, 0, 5)
    write(folder, *straight)
    assert is_kohya_state(folder)
    state = position_of(folder, trainer_config(gradient_accumulation_steps=2), steps_per_epoch=4)
    assert (state.step, state.epoch, state.batch_in_epoch) == (5, 1, 2)
    resumed = parts(kind, halves=(0, 1))
    load_kohya_state(folder, *resumed, state.step)
    train(*straight, 5, 8)
    train(*resumed, 5, 8)
    assert all(torch.equal(a, b) for a, b in zip(straight[0].parameters(), resumed[0].parameters(), strict=True))
    assert straight[2].get_last_lr() == resumed[2].get_last_lr()


def test_kohya_state_step_is_from_supervisor_then_schedule_then_kohya(folder):
    made = parts()
    train(*made, 0, 7)
    write(folder, *made, step=3)
    config = trainer_config()
    assert position_of(folder, config, 4).step == 7
    (folder / "fluxgym_place.json").write_text('{"step": 9, "epoch": 2, "total_steps": 20}')
    assert position_of(folder, config, 4).step == 9
    assert position_of(folder, trainer_config(initial_epoch=3), 4).step == 8
    (folder / "fluxgym_place.json").unlink()
    (folder / "scheduler.bin").unlink()
    assert position_of(folder, config, 4).step == 3
    (folder / "train_state.json").unlink()
    with pytest.raises(TrainerError, match="contains its step"):
        position_of(folder, config, 4)


def test_empty_kohya_state_file_is_reported(folder):
    made = parts()
    train(*made, 0, 1)
    write(folder, *made)
    (folder / "optimizer.bin").write_bytes(b"")
    with pytest.raises(TrainerError, match=r"optimizer\.bin is damaged"):
        load_kohya_state(folder, *parts(), 1)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("state", [1]),
        ("state", {0: [1]}),
        ("state", {0: None}),
        ("param_groups", {}),
        ("param_groups", ["x"]),
        ("param_groups", [{"params": [[0]]}]),
    ],
)
def test_file_without_state_of_an_optimizer_is_reported(folder, key, value):
    made = parts()
    train(*made, 0, 1)
    write(folder, *made)
    torch.save(made[1].state_dict() | {key: value}, folder / "optimizer.bin")
    with pytest.raises(TrainerError, match=r"optimizer\.bin is damaged: it does not hold the state of an optimizer"):
        load_kohya_state(folder, *parts(), 1)


def test_alpha_of_other_shape_is_reported(folder):
    made = parts()
    train(*made, 0, 1)
    write(folder, *made)
    weights = made[0].state_dict()
    save_file(
        {name: torch.ones(2) if name.endswith(".alpha") else each.clone() for name, each in weights.items()}, folder / "model.safetensors"
    )
    with pytest.raises(TrainerError, match="does not fit"):
        load_kohya_state(folder, *parts(), 1)


class Evil:
    """Opens a file when it is unpickled."""

    path = ""

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.parametrize("name", ["optimizer.bin", "scheduler.bin"])
def test_pickle_that_could_run_code_is_reported_and_not_run(name, folder, tmp_path):
    made = parts()
    train(*made, 0, 1)
    write(folder, *made)
    evil = tmp_path / "owned"
    Evil.path = str(evil)
    torch.save({"state": Evil()}, folder / name)
    with pytest.raises(TrainerError, match=rf"{name} is not read: it contains .*open"):
        if name == "scheduler.bin":
            position_of(folder, trainer_config(), 4)
        load_kohya_state(folder, *parts(), 1)
    assert not evil.exists()


def test_mismatching_or_truncated_kohya_state_is_reported(folder, tmp_path):
    made = parts()
    train(*made, 0, 1)
    write(folder, *made)
    with pytest.raises(TrainerError, match="belongs to another optimizer"):
        load_kohya_state(folder, *parts("AdamW8bit"), 1)
    network = create_network({FLUX_PREFIX: make_flux()}, LoRASpec(rank=2, alpha=1.0), seed=1)
    with pytest.raises(TrainerError, match="--network_alpha 2, now it is 1"):
        load_kohya_state(folder, network, *parts()[1:], 1)
    other = create_network({FLUX_PREFIX: make_flux()}, LoRASpec(rank=3, alpha=2.0), seed=1)
    with pytest.raises(TrainerError, match="does not fit"):
        load_kohya_state(folder, other, *parts()[1:], 1)
    (folder / "optimizer.bin").write_bytes((folder / "optimizer.bin").read_bytes()[:100])
    with pytest.raises(TrainerError, match=r"optimizer\.bin is damaged"):
        load_kohya_state(folder, *parts(), 1)
    with zipfile.ZipFile(tmp_path / "odd.bin", "w") as file:
        file.writestr("x", "y")
    with pytest.raises(TrainerError, match=r"odd\.bin"):
        unpickle(tmp_path / "odd.bin")
    for number, content in enumerate((b"\x80\x02.", b"\x80\x02K", b"\x80\x02(K\x01s.", b"\x80\x02]K\x01K\x02s.")):
        odd = tmp_path / f"content-{number}.bin"
        with zipfile.ZipFile(odd, "w") as file:
            file.writestr("archive/data.pkl", content)
            file.writestr("archive/version", "3\n")
        with pytest.raises(TrainerError, match=rf"content-{number}\.bin (is damaged|is not)"):
            unpickle(odd)
    torch.save([1], tmp_path / "list.bin")
    with pytest.raises(TrainerError, match="no dictionary"):
        unpickle(tmp_path / "list.bin")
