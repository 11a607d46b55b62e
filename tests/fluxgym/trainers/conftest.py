"""Fixtures of the trainer backends' tests."""

import json

import pytest
import torch
from safetensors.torch import save_file

from tests.support.runs import make_run


@pytest.fixture(name="folder")
def fixture_folder(tmp_path):
    """A state as accelerate writes it, with torch's own files."""
    folder = make_run(tmp_path, "cat").folder / "cat-step00000007-state"
    folder.mkdir()
    (folder / "train_state.json").write_text(json.dumps({"current_epoch": 2, "current_step": 7}))
    save_file({"a.lora_up.weight": torch.ones(40)}, folder / "model.safetensors")
    for name in ("optimizer.bin", "scheduler.bin", "random_states_0.pkl"):
        torch.save({"numbers": torch.arange(400)}, folder / name)
    return folder
