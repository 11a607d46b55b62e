"""kohya's file names, and which old files are removed."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.optim.lr_scheduler import LambdaLR

from fluxgym.contract.files import epoch_suffix, step_suffix
from library.errors import TrainerError
from library.models.flux1.layer_names import FLUX_PREFIX
from library.training.checkpoint import CheckpointParts, TrainState, is_complete
from library.training.saving import Saver
from networks.lora_flux import LoRASpec, create_network
from tests.support.tiny_models import make_flux
from tests.support.trainer_config import trainer_config


@pytest.fixture(name="make_saver")
def fixture_make_saver(tmp_path):
    def make(**changes):
        config = trainer_config(output_dir=tmp_path, output_name="cat", **changes).save
        return Saver(
            config, create_network({FLUX_PREFIX: make_flux()}, LoRASpec(rank=1, alpha=1.0), seed=0), {"ss_seed": "42"}, epoch_interval=2
        )

    return make


def test_saved_lora_has_kohya_name_and_metadata(make_saver, tmp_path):
    path = make_saver().save_lora(epoch_suffix(4), epoch=4, step=320)
    assert path == tmp_path / "cat-000004.safetensors"
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    assert (metadata["ss_seed"], metadata["ss_epoch"], metadata["ss_steps"]) == ("42", "4", "320")
    assert len(metadata["sshs_model_hash"]) == 64
    assert step_suffix(123) == "-step00000123"


def test_lora_with_nan_does_not_replace_older_file(make_saver, tmp_path):
    saver = make_saver()
    path = saver.save_lora(step_suffix(1), epoch=0, step=1)
    before = path.read_bytes()
    saver.network.loras[0].lora_up.weight.data.fill_(float("inf"))
    with pytest.raises(TrainerError, match="NaN or infinity") as caught:
        saver.save_lora(step_suffix(1), epoch=0, step=1)
    assert caught.value.reason_code == "nan"
    assert path.read_bytes() == before


def test_tensor_names_match_kohya_or_diffusers(make_saver):
    for keys, prefix in (("kohya", "lora_unet_"), ("diffusers", "transformer.")):
        with safe_open(make_saver(save_keys=keys).save_lora("", epoch=1, step=1), "pt") as file:
            assert all(name.startswith(prefix) for name in file.keys())  # noqa: SIM118, not a dict


def touch(folder, *names):
    for name in names:
        (folder / name).mkdir() if name.endswith("-state") else (folder / name).touch()


def test_last_epochs_are_kept(make_saver, tmp_path):
    touch(
        tmp_path,
        *(f"cat-{e:06d}.safetensors" for e in (2, 4, 6, 8)),
        *(f"cat-{e:06d}-state" for e in (2, 4, 6, 8)),
        "cat-x-000002.safetensors",
    )
    make_saver(save_last_n_epochs=2, save_last_n_epochs_state=1).drop_old_epochs(8)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "cat-000006.safetensors", "cat-000008-state", "cat-000008.safetensors", "cat-x-000002.safetensors",
    ]  # fmt: skip


def test_last_steps_are_kept(make_saver, tmp_path):
    touch(tmp_path, *(f"cat-step{s:08d}.safetensors" for s in (10, 20, 30)), "cat-000001.safetensors")
    make_saver(save_last_n_steps=10).drop_old_steps(30)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "cat-000001.safetensors",
        "cat-step00000020.safetensors",
        "cat-step00000030.safetensors",
    ]


def test_without_retention_everything_stays(make_saver, tmp_path):
    touch(tmp_path, "cat-000002.safetensors", "cat-step00000010.safetensors")
    saver = make_saver()
    saver.drop_old_epochs(100)
    saver.drop_old_steps(1000)
    assert len(list(tmp_path.iterdir())) == 2


def write_state(saver, suffix, step):
    optimizer = torch.optim.AdamW(saver.network.parameters())
    state = TrainState(step=step, epoch=1, batch_in_epoch=0, total_steps=9, seed=1, fixed={})
    parts = CheckpointParts(network=saver.network, optimizer=optimizer, scheduler=LambdaLR(optimizer, lambda _: 1.0))
    return saver.save_state(suffix, parts, state)


@pytest.mark.parametrize("harm", [None, "the new one is damaged", "no new one was written"])
def test_retention_always_leaves_complete_checkpoint(harm, make_saver, tmp_path):
    saver = make_saver(save_last_n_steps_state=1)
    write_state(saver, step_suffix(10), 10)
    write_state(saver, step_suffix(20), 20)
    if harm != "no new one was written":
        newest = write_state(saver, step_suffix(30), 30)
        if harm:
            (newest / "model.safetensors").write_bytes(b"")
    saver.drop_old_steps(30)
    left = [path.name for path in tmp_path.iterdir() if is_complete(path)]
    assert left == (["cat-step00000030-state"] if harm is None else ["cat-step00000020-state"])


def test_saved_lora_is_verified(make_saver):
    saver = make_saver()
    path = saver.save_lora("", epoch=1, step=1)
    saver.check_lora(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-8])
    with pytest.raises(TrainerError, match="cannot be read back"):
        saver.check_lora(path)
    save_file(dict(list(saver.network.weights().items())[1:]), path)
    with pytest.raises(TrainerError, match="does not contain the tensors"):
        saver.check_lora(path)
    next(saver.network.parameters()).data[0, 0] = float("nan")
    with pytest.raises(
        TrainerError,
        match=r"NaN or infinity in lora_unet.* learning rate that is too high and --optimizer_args with an extreme",
    ) as caught:
        saver.check_lora(saver.save_lora("", epoch=1, step=1))
    assert caught.value.reason_code == "nan"
