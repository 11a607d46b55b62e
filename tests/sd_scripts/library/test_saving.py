"""Kohya's file names, and which old ones go."""

from argparse import Namespace

import pytest
from safetensors import safe_open

from library.saving import Saver, epoch_suffix, step_suffix
from networks.lora_flux import create_network
from tests.support.tiny_models import make_flux


@pytest.fixture(name="make_saver")
def fixture_make_saver(tmp_path):
    def make(**changes):
        defaults = {
            "output_dir": str(tmp_path), "output_name": "cat", "save_every_n_epochs": 2, "save_last_n_epochs": None,
            "save_last_n_epochs_state": None, "save_last_n_steps": None, "save_last_n_steps_state": None, "no_metadata": False, "save_keys": "kohya",
        }  # fmt: skip
        return Saver(
            Namespace(**(defaults | changes)), create_network(make_flux(), None, rank=1, alpha=1.0, seed=0), None, {"ss_seed": "42"}
        )

    return make


def test_names_and_metadata(make_saver, tmp_path):
    path = make_saver().save_lora(epoch_suffix(4), epoch=4, step=320)
    assert path == tmp_path / "cat-000004.safetensors"
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    assert (metadata["ss_seed"], metadata["ss_epoch"], metadata["ss_steps"]) == ("42", "4", "320")
    assert len(metadata["sshs_model_hash"]) == 64
    assert step_suffix(123) == "-step00000123"


def touch(folder, *names):
    for name in names:
        (folder / name).mkdir() if name.endswith("-state") else (folder / name).touch()


def test_the_last_epochs_are_kept(make_saver, tmp_path):
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


def test_the_last_steps_are_kept(make_saver, tmp_path):
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
