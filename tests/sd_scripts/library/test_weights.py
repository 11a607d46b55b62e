"""A damaged model file is named with what is wrong; an intact one is read tensor by tensor."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from library.errors import TrainerError
from library.weights import WeightFile, fingerprint, open_weights, read_shapes


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    save_file({"model.a": torch.arange(600.0).reshape(2, 300), "model.b": torch.ones(3, dtype=torch.int32)}, tmp_path / "m.safetensors")
    return tmp_path / "m.safetensors"


def test_names_lose_their_prefix(path):
    file = WeightFile(path, "the model", prefixes=("other.", "model."))
    assert read_shapes(file) == {"a": (2, 300), "b": (3,)}
    assert torch.equal(file.tensor("a"), torch.arange(600.0).reshape(2, 300))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_bytes(b""), "cut short"),
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "is damaged"),
        (lambda path: path.write_bytes(path.read_bytes()[:40]), "cut short"),
        (lambda path: path.write_text("<html>404 not found</html>" * 9), "cut short, or no .safetensors"),
        (lambda path: path.write_bytes(b"\x80\x02}q\x00." + bytes(100)), "is damaged"),
    ],
    ids=["missing", "empty", "data cut", "header cut", "a web page", "a pickle"],
)
def test_damage_is_named(path, damage, words):
    damage(path)
    with pytest.raises(TrainerError, match=words) as caught:
        open_weights(path, "the model")
    assert caught.value.reason_code == "bad_model"
    assert str(path) in str(caught.value)


def test_load_into_a_meta_module_converts_floats_only(tmp_path):
    module = nn.BatchNorm1d(4)
    module.running_mean += 2
    save_file(module.state_dict(), tmp_path / "norm.safetensors")
    with torch.device("meta"):
        empty = nn.BatchNorm1d(4)
    WeightFile(tmp_path / "norm.safetensors", "the norm").load_into(empty, dtype=torch.float16, device="cpu")
    assert empty.weight.dtype == torch.float16
    assert empty.num_batches_tracked.dtype == torch.int64
    assert empty.running_mean.tolist() == [2, 2, 2, 2]


def test_a_wrong_shape_is_named(tmp_path):
    save_file(nn.Linear(3, 2).state_dict(), tmp_path / "linear.safetensors")
    with pytest.raises(TrainerError, match=r"weight is \[2, 3\], not \[5, 3\]"):
        WeightFile(tmp_path / "linear.safetensors", "the layer").load_into(nn.Linear(3, 5), dtype=None, device="cpu")


def test_the_fingerprint_tells_one_changed_weight(tmp_path):
    tensors = {"w": torch.zeros(1 << 10)}
    save_file(tensors, tmp_path / "one.safetensors")
    save_file(tensors, tmp_path / "same.safetensors")
    tensors["w"][500] = 1
    save_file(tensors, tmp_path / "two.safetensors")
    one, same, two = (fingerprint(tmp_path / f"{name}.safetensors") for name in ("one", "same", "two"))
    assert one == same != two
