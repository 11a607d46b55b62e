"""A LoRA file is complete, finite and of matching shapes, or it is reported with the reason."""

import pytest
import torch
from safetensors.torch import save_file

from library.errors import TrainerError
from networks.lora_file import read_lora
from tests.support.lora import LORA_MODULE, lora_tensors


def test_valid_lora_file_is_read(tmp_path):
    save_file(lora_tensors(), tmp_path / "a.safetensors")
    (pair,) = read_lora(tmp_path / "a.safetensors", "the LoRA").pairs()
    assert (pair.name, pair.rank, pair.alpha) == (LORA_MODULE, 2, 1.0)


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        (lora_tensors(**{"lora_up.weight": torch.full((8, 2), float("nan"))}), "contains NaN or infinity"),
        (lora_tensors(alpha=torch.tensor(float("inf"))), "contains NaN or infinity"),
        (lora_tensors(alpha=torch.ones(3)), "do not fit each other"),
        (lora_tensors(**{"lora_up.weight": torch.ones(8, 5)}), "do not fit each other"),
        (lora_tensors(**{"lora_up.weight": torch.ones(8)}), "do not fit each other"),
        ({f"{LORA_MODULE}.lora_up.weight": torch.ones(8, 2)}, "lacks its lora_down.weight"),
        ({"metadata_only": torch.ones(0)}, "is not part of a LoRA"),
        ({}, "contains no module"),
    ],
)
def test_invalid_content_is_reported_with_file(tensors, words, tmp_path):
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(TrainerError, match=words) as caught:
        read_lora(tmp_path / "a.safetensors", "the LoRA")
    assert str(tmp_path / "a.safetensors") in str(caught.value)
    assert caught.value.reason_code == "bad_model"
