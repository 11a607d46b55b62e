"""A checkpoint is complete or absent, restores everything, and reports damaged files."""

import json
from dataclasses import asdict, replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.optim.lr_scheduler import LambdaLR

from fluxgym.contract.checkpoint_manifest import digest
from fluxgym.contract.files import MANIFEST
from library.errors import CheckpointError, TrainerError
from library.models.flux1.layer_names import FLUX_PREFIX
from library.optim.optimizers import OPTIMIZERS as OPTIMIZER_CLASSES
from library.optim.optimizers import create_optimizer
from library.optim.schedules import create_scheduler
from library.training.checkpoint import CheckpointParts, TrainState, load_checkpoint, read_train_state, save_checkpoint, verify_checkpoint
from networks.lora_flux import LoRASpec, create_network
from tests.support.tiny_models import make_flux
from tests.support.trainer_config import trainer_config

STATE = TrainState(step=3, epoch=1, batch_in_epoch=2, total_steps=20, seed=42, fixed={"seed": 42})
OPTIMIZERS = {
    "AdamW": (), "AdamW8bit": ("min_8bit_size=64",), "PagedAdamW8bit": ("min_8bit_size=64",), "PagedAdamW32bit": (), "Lion": (),
    "Lion8bit": ("min_8bit_size=64",), "AdEMAMix8bit": ("min_8bit_size=64",), "SGDNesterov": (), "SGDNesterov8bit": ("min_8bit_size=64",),
    "Adafactor": (), "Prodigy": ("use_bias_correction=True",), "DAdaptAdam": (), "DAdaptLion": (), "DAdaptSGD": ("momentum=0.9",),
    "AdamWScheduleFree": ("warmup_steps=4",), "SGDScheduleFree": (), "torch.optim.NAdam": (), "SGD": (),
}  # fmt: skip


def training(kind="AdamW", dtype=torch.float32, schedule="cosine"):
    network = create_network({FLUX_PREFIX: make_flux()}, LoRASpec(rank=4, alpha=4.0), seed=1).to(dtype)
    config = trainer_config(optimizer_type=kind, lr_scheduler=schedule, learning_rate=1e-2, optimizer_args=OPTIMIZERS[kind]).optim
    if OPTIMIZER_CLASSES.get(kind.lower(), ("torch", ""))[0].split(".")[0] in ("prodigyopt", "dadaptation", "schedulefree"):
        pytest.importorskip(OPTIMIZER_CLASSES[kind.lower()][0])
    optimizer = create_optimizer(config, [{"params": list(network.parameters()), "lr": 1e-2}])
    return network, optimizer, create_scheduler(config, optimizer, 20)


def parts(network, optimizer, scheduler, **extra):
    return CheckpointParts(network=network, optimizer=optimizer, scheduler=scheduler, extra=extra)


def go_on(network, optimizer, scheduler, first, last):
    for step in range(first, last):
        random = torch.Generator().manual_seed(step)
        for parameter in network.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=random).to(parameter)
        optimizer.step()
        scheduler.step()


@pytest.mark.filterwarnings("ignore:Paged optimizers")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_restored_training_continues_as_if_it_had_never_stopped(kind, dtype, tmp_path):
    straight = training(kind, dtype)
    go_on(*straight, 0, 6)
    stopped = training(kind, dtype)
    go_on(*stopped, 0, 3)
    save_checkpoint(tmp_path / "a-state", parts(*stopped), STATE)
    resumed = training(kind, dtype)
    load_checkpoint(tmp_path / "a-state", *resumed)
    assert read_train_state(tmp_path / "a-state") == STATE
    go_on(*resumed, 3, 6)
    assert all(torch.equal(a, b) for a, b in zip(straight[0].parameters(), resumed[0].parameters(), strict=True))
    assert straight[2].get_last_lr() == resumed[2].get_last_lr()
    assert all(torch.equal(a, b) for a, b in zip(tensors_of(straight[1]), tensors_of(resumed[1]), strict=True))


def tensors_of(optimizer):
    states = [optimizer.state[parameter] for group in optimizer.param_groups for parameter in group["params"]]
    return [value for state in states for name, value in sorted(state.items()) if isinstance(value, torch.Tensor)]


@pytest.fixture(name="folder")
def fixture_folder(tmp_path):
    network, optimizer, scheduler = training()
    go_on(network, optimizer, scheduler, 0, 1)
    save_checkpoint(tmp_path / "a-state", parts(network, optimizer, scheduler), STATE)
    return tmp_path / "a-state"


def test_manifest_has_size_and_hash_of_every_file(folder):
    manifest = json.loads((folder / MANIFEST).read_text())
    assert set(manifest["files"]) == {path.name for path in folder.iterdir()} - {MANIFEST}
    assert all(manifest["files"][path.name]["bytes"] == path.stat().st_size for path in folder.iterdir() if path.name != MANIFEST)
    assert (manifest["step"], manifest["epoch"], manifest["total_steps"]) == (3, 1, 20)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "train_state.json", "scheduler.json"])
@pytest.mark.parametrize("harm", ["cut", "changed", "gone"])
def test_damaged_file_is_reported(folder, name, harm):
    data = (folder / name).read_bytes()
    if harm == "gone":
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(data[:-3] if harm == "cut" else data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(TrainerError, match=name):
        verify_checkpoint(folder)


def test_folder_that_is_not_checkpoint_is_refused(tmp_path):
    with pytest.raises(TrainerError, match=r"no such folder\. Give the folder of a saved state, or leave --resume out"):
        read_train_state(tmp_path / "nowhere-state")
    (tmp_path / "kohya-state").mkdir()
    (tmp_path / "kohya-state" / "optimizer.bin").write_bytes(b"pickle")
    with pytest.raises(TrainerError, match="not a complete checkpoint"):
        read_train_state(tmp_path / "kohya-state")


def test_failed_write_leaves_old_checkpoint_and_nothing_else(folder, monkeypatch):
    def refuse(*_, **__):
        raise OSError(28, "No space left on device")

    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr("library.training.checkpoint.write_json", refuse)
    with pytest.raises(TrainerError, match="disk is full"):
        save_checkpoint(folder, parts(*training()), STATE)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert list(folder.parent.iterdir()) == [folder]


def test_checkpoint_of_another_network_is_refused(folder):
    network = create_network({FLUX_PREFIX: make_flux()}, LoRASpec(rank=2, alpha=2.0), seed=1)
    optimizer = torch.optim.AdamW(network.parameters())
    with pytest.raises(TrainerError, match="does not fit"):
        load_checkpoint(folder, network, optimizer, LambdaLR(optimizer, lambda _: 1.0))


def test_damaged_checkpoint_error_names_complete_earlier_one(folder):
    for name, step in (("b-state", 7), ("c-state", 9)):
        save_checkpoint(folder.with_name(name), parts(*training()), replace(STATE, step=step))
    (folder.with_name("c-state") / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(TrainerError, match=r"model\.safetensors has changed .* Resume from .*b-state, which is complete\."):
        read_train_state(folder.with_name("c-state"))
    with pytest.raises(TrainerError, match=r"no such folder\. Resume from .*b-state"):
        read_train_state(folder.with_name("d-state"))


def test_checkpoint_stores_further_parts_and_reads_older_formats(folder):
    part = {"x": torch.arange(3.0)}
    save_checkpoint(folder, parts(*training(), average=part), replace(STATE, losses=[1.5], log_folder="logs"))
    assert torch.equal(load_checkpoint(folder, *training())["average"]["x"], part["x"])
    assert read_train_state(folder).losses == [1.5]
    older = json.loads((folder / "train_state.json").read_text())
    assert TrainState(**{name: value for name, value in older.items() if name not in ("settings", "losses", "log_folder")}).losses == []


def tamper(folder, name, change):
    """Change a JSON file of a checkpoint, with the right hash in the manifest."""
    (folder / name).write_text(json.dumps(change(json.loads((folder / name).read_text()))))
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][name] = asdict(digest(folder / name))
    (folder / MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"step": 9}, r"train_state\.json has the step 9, and the manifest has 3"),
        ({"batch_in_epoch": -2}, "has the batch_in_epoch -2, which is not a count"),
        ({"losses": ["x"]}, "has losses that are not a list of numbers"),
        ({"fixed": 7}, "has fixed that are not a table"),
        ({"more": 7}, "was written by another version"),
    ],
)
def test_tampered_manifest_value_is_refused_with_earlier_checkpoint(folder, changes, words):
    later = folder.with_name("b-state")
    save_checkpoint(later, parts(*training()), replace(STATE, step=3))
    tamper(later, "train_state.json", lambda state: state | changes)
    with pytest.raises(CheckpointError, match=f"{words}.* Resume from .*a-state, which is complete") as caught:
        read_train_state(later)
    assert caught.value.checkpoint == "b-state"


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.json", "scheduler.json", "train_state.json"])
def test_manifest_that_leaves_file_out_is_refused(folder, name):
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["files"][name]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=f"its manifest does not list {name}"):
        verify_checkpoint(folder)


def test_tensors_that_manifest_does_not_list_are_not_loaded(folder):
    save_file({"x": torch.ones(1)}, folder / "average.safetensors")
    assert load_checkpoint(folder, *training()) == {}


@pytest.mark.parametrize(("name", "value"), [("optimizer.json", []), ("optimizer.json", {"str:state": 7}), ("scheduler.json", 7)])
def test_optimizer_or_schedule_of_another_kind_is_refused_with_one_message(folder, name, value):
    tamper(folder, name, lambda _: value)
    with pytest.raises(CheckpointError, match="do not fit this one") as caught:
        load_checkpoint(folder, *training())
    assert caught.value.checkpoint == "a-state"


def tamper_tensors(folder, change):
    """Change one tensor of an optimizer's state, the first whose name ends as one of the changes says, with the right hash in the manifest."""
    tensors = load_file(folder / "optimizer.safetensors")
    ending, changed = change
    name = next(each for each in tensors if each.endswith(ending))
    tensors[name] = changed(tensors[name])
    save_file(tensors, folder / "optimizer.safetensors")
    tamper(folder, "train_state.json", lambda state: state)  # writes the manifest again
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"]["optimizer.safetensors"] = asdict(digest(folder / "optimizer.safetensors"))
    (folder / MANIFEST).write_text(json.dumps(manifest))


def with_value(number):
    def change(tensor):
        changed = tensor.clone()
        changed.view(-1)[0] = number
        return changed

    return change


ROW = ("/exp_avg_sq_row", lambda tensor: tensor[:-1].contiguous())
TAMPERED = {
    "AdamW, shape": ("AdamW", ("/exp_avg", lambda tensor: tensor[:1].contiguous()), r"exp_avg of parameter \d+ has the shape"),
    "AdamW, NaN": ("AdamW", ("/exp_avg", with_value(float("nan"))), "has NaN or infinity"),
    "AdamW, negative": ("AdamW", ("/exp_avg_sq", with_value(-1.0)), "exp_avg_sq of parameter 0 is negative"),
    "AdamW, step": ("AdamW", ("/step", lambda tensor: torch.tensor(-3.0)), "step of parameter 0 is -3"),
    "AdamW, kind": ("AdamW", ("/exp_avg", lambda tensor: tensor.to(torch.int32)), r"is of the type torch\.int32"),
    "8-bit, shape": ("AdamW8bit", ("/state1", lambda tensor: tensor[:1].contiguous()), "state1 of parameter"),
    "8-bit, kind": ("AdamW8bit", ("/state1", lambda tensor: tensor.float()), r"is of the type torch\.float32"),
    "8-bit, scale": ("AdamW8bit", ("/absmax1", with_value(float("inf"))), "absmax1 of parameter"),
    "Adafactor, row": ("Adafactor", ROW, "exp_avg_sq_row of parameter"),
    "Prodigy, start": ("Prodigy", ("/p0", lambda tensor: torch.zeros(3)), r"p0 of parameter \d+ has the shape \(3,\)"),
    "schedule-free, average": ("AdamWScheduleFree", ("/z", lambda tensor: tensor[:1].contiguous()), "z of parameter"),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_tampered_optimizer_state_is_refused_with_earlier_checkpoint(case, tmp_path):
    kind, change, words = TAMPERED[case]
    parted = training(kind)
    go_on(*parted, 0, 2)
    for name, step in (("a-state", 3), ("b-state", 5)):
        save_checkpoint(tmp_path / name, parts(*parted), replace(STATE, step=step))
    tamper_tensors(tmp_path / "b-state", change)
    assert read_train_state(tmp_path / "b-state").step == 5  # its hashes are right
    with pytest.raises(CheckpointError, match=rf"optimizer\.safetensors do not fit .*{words}.* Resume from .*a-state, which is") as caught:
        load_checkpoint(tmp_path / "b-state", *training(kind))
    assert caught.value.checkpoint == "b-state"
    load_checkpoint(tmp_path / "a-state", *training(kind))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state["str:state"]["int:0"].pop("str:exp_avg"), "exp_avg of parameter 0 is missing"),
        (lambda state: state["str:param_groups"][0].update({"str:lr": float("nan")}), "lr is nan"),
        (lambda state: state["str:param_groups"][0].update({"str:betas": [0.9]}), "betas is"),
        (lambda state: state["str:param_groups"][0].update({"str:eps": "1"}), "eps is 1"),
        (lambda state: state["str:state"]["int:0"].update({"str:step": 10**400}), "step of parameter 0 is 1000"),
    ],
)
def test_tampered_numbers_of_optimizer_are_refused(folder, change, words):
    def changed(state):
        change(state)
        return state

    tamper(folder, "optimizer.json", changed)
    with pytest.raises(CheckpointError, match=words):
        load_checkpoint(folder, *training())
