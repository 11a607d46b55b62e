"""A damaged model file is reported with the reason; an intact one is read tensor by tensor."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from library.errors import TrainerError
from library.weights.safetensors_file import WeightFile, fingerprint_of_file, open_weights


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    save_file({"model.a": torch.arange(600.0).reshape(2, 300), "model.b": torch.ones(3, dtype=torch.int32)}, tmp_path / "m.safetensors")
    return tmp_path / "m.safetensors"


def test_tensors_are_read_with_its_name(path):
    file = WeightFile(path, "the model")
    assert {name: file.shape(name) for name in file.names} == {"model.a": (2, 300), "model.b": (3,)}
    assert torch.equal(file.tensor("model.a"), torch.arange(600.0).reshape(2, 300))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_bytes(b""), "cut short"),
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "is damaged"),
        (lambda path: path.write_bytes(path.read_bytes()[:40]), "cut short"),
        (lambda path: path.write_bytes(b"\0\0"), "cut short"),
        (lambda path: path.write_text("Repository not found"), "not a .safetensors file"),
        (lambda path: path.write_text("<html>404 not found</html>" * 9), "is a web page"),
        (lambda path: path.write_bytes(b"\x80\x02}q\x00." + bytes(100)), "pickled PyTorch file"),
    ],
    ids=["missing", "empty", "data cut", "header cut", "two bytes", "text", "a web page", "a pickle"],
)
def test_damaged_file_is_reported(path, damage, words):
    damage(path)
    with pytest.raises(TrainerError, match=words) as caught:
        open_weights(path, "the model")
    assert caught.value.reason_code == "bad_model"
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2, torch.int8, torch.bool])
@pytest.mark.parametrize("mapped", [True, False])
def test_tensors_are_read_as_safetensors_reads_them(tmp_path, dtype, mapped):
    tensors = {"a": (torch.randn(5, 7) * 3).to(dtype), "odd": torch.ones(3, dtype=torch.uint8), "b": torch.randn(3).to(dtype)}
    save_file({**tensors, "empty": torch.empty(0, 2), "number": torch.tensor(2.5)}, tmp_path / "m.safetensors")
    file, reference = WeightFile(tmp_path / "m.safetensors", "m", mapped=mapped), load_file(tmp_path / "m.safetensors")
    assert set(file.names) == set(reference)
    for name, expected in reference.items():
        assert file.tensor(name).dtype == file.dtype(name) == expected.dtype
        assert torch.equal(file.tensor(name).float(), expected.float())


def test_mapped_tensor_shares_file_pages_and_can_be_released(path):
    file = WeightFile(path, "the model")
    first = file.tensor("model.a")
    assert first.untyped_storage().data_ptr() == file.tensor("model.a").untyped_storage().data_ptr()
    file.release("model.a")
    assert torch.equal(first, torch.arange(600.0).reshape(2, 300))


def test_fingerprint_changes_with_one_weight(tmp_path):
    tensors = {"w": torch.zeros(1 << 10)}
    save_file(tensors, tmp_path / "one.safetensors")
    save_file(tensors, tmp_path / "same.safetensors")
    tensors["w"][500] = 1
    save_file(tensors, tmp_path / "two.safetensors")
    one, same, two = (fingerprint_of_file(tmp_path / f"{name}.safetensors") for name in ("one", "same", "two"))
    assert one == same != two
