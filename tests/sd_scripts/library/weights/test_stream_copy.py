"""A copied file has its changes and is otherwise byte for byte what it was; a failed copy leaves no file."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from library.errors import TrainerError
from library.weights import stream_copy
from library.weights.stream_copy import Change, copy_with_changes, floating

TENSORS = {
    "a.weight": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "b.weight": torch.randn(5, 4).to(torch.float8_e4m3fn),
    "count": torch.tensor(7, dtype=torch.int64),
    "c.bias": torch.randn(3).to(torch.bfloat16),
    "empty": torch.zeros(0, 4),
}


@pytest.fixture(name="source")
def fixture_source(tmp_path):
    save_file(TENSORS, tmp_path / "source.safetensors", {"note": "old"})
    return tmp_path / "source.safetensors"


def test_unchanged_tensors_are_copied_and_changed_ones_converted(source, tmp_path):
    target = tmp_path / "target.safetensors"
    changes = {
        "a.weight": Change(lambda old: old * 2, torch.bfloat16),
        "c.bias": Change(lambda old: old + torch.ones(3)),
        "empty": Change(lambda old: old, torch.float16),
    }
    copy_with_changes(source, target, changes, {"note": "new"})
    found = load_file(target)
    assert set(found) == set(TENSORS)
    assert torch.equal(found["a.weight"], (TENSORS["a.weight"] * 2).bfloat16())
    assert torch.equal(found["c.bias"], (TENSORS["c.bias"].float() + 1).bfloat16())
    assert (found["empty"].shape, found["empty"].dtype) == ((0, 4), torch.float16)
    assert found["b.weight"].dtype == torch.float8_e4m3fn
    assert torch.equal(found["b.weight"].view(torch.uint8), TENSORS["b.weight"].view(torch.uint8))
    assert found["count"] == 7
    with safe_open(target, "pt") as file:
        assert file.metadata() == {"note": "new"}


def test_convertible_tensors_are_listed(source):
    assert floating(source) == set(TENSORS) - {"count"}


def test_failed_copy_leaves_no_file(source, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stream_copy, "sync", refuse)
    with pytest.raises(TrainerError, match="disk is full"):
        copy_with_changes(source, tmp_path / "target.safetensors", {}, {})
    assert list(tmp_path.iterdir()) == [source]
