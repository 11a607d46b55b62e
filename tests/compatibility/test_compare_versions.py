"""The comparison of two checkouts finds each kind of difference, however small; `python -m bench compare_versions` runs it on real trainings."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file

from bench.compare_versions import differences


@pytest.fixture(name="outputs")
def fixture_outputs(tmp_path):
    """Return two equal folders of outputs, made at different times."""
    for name, moment in (("old", "1"), ("new", "2")):
        state = tmp_path / name / "cat-state"
        state.mkdir(parents=True)
        metadata = {"ss_steps": "2", "ss_training_started_at": moment}
        save_file({"a": torch.tensor([1.0, -0.0])}, tmp_path / name / "cat.safetensors", metadata)
        save_file({"b": torch.tensor([1, 2], dtype=torch.uint8)}, state / "optimizer.safetensors")
        (state / "train_state.json").write_text('{"step": 2, "losses": [0.5]}')
        (tmp_path / name / "progress.jsonl").write_text(json.dumps({"time": moment, "step": 1, "loss": 0.5, "lr": 0.1}) + "\n")
    return tmp_path / "old", tmp_path / "new"


def test_equal_outputs_have_no_difference(outputs):
    assert differences(*outputs) == []


def test_sign_of_zero_is_difference(outputs):
    save_file({"a": torch.tensor([1.0, 0.0])}, outputs[1] / "cat.safetensors", {"ss_steps": "2"})
    assert differences(*outputs) == ["cat.safetensors: tensor a"]


def test_type_is_difference(outputs):
    save_file({"b": torch.tensor([1, 2], dtype=torch.int8)}, outputs[1] / "cat-state" / "optimizer.safetensors")
    assert differences(*outputs) == ["cat-state/optimizer.safetensors: tensor b"]


def test_metadata_is_difference(outputs):
    save_file({"a": torch.tensor([1.0, -0.0])}, outputs[1] / "cat.safetensors", {"ss_steps": "3", "ss_extra": ""})
    assert differences(*outputs) == ["cat.safetensors: metadata ss_steps", "cat.safetensors: metadata ss_extra"]


def test_state_and_loss_are_differences(outputs):
    (outputs[1] / "cat-state" / "train_state.json").write_text('{"step": 2, "losses": [0.5000000001]}')
    (outputs[1] / "progress.jsonl").write_text('{"step": 1, "loss": 0.5000000001, "lr": 0.1}\n')
    assert [sentence.split(":")[0] for sentence in differences(*outputs)] == ["cat-state/train_state.json", "step 1"]


def test_missing_file_is_difference(outputs):
    shutil.rmtree(outputs[1] / "cat-state")
    assert len(differences(*outputs)) == 2


def test_trainings_that_left_nothing_are_not_equal(tmp_path):
    assert differences(tmp_path / "a", tmp_path / "b") == ["the reference has no cat.safetensors", "the reference has no losses"]
