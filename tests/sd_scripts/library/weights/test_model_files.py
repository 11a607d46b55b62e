"""One model from many files: shards, folders, precisions and scales; memory stays within what is kept and the largest tensor."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from library.errors import TrainerError
from library.weights.model_files import ModelFiles, TensorRecipe, fingerprint
from library.weights.safetensors_file import fingerprint_of_file

ROOT = Path(__file__).parents[4]


def sharded(folder, name="model"):
    folder.mkdir(parents=True, exist_ok=True)
    files = [f"{name}-{number:05d}-of-00002.safetensors" for number in (1, 2)]
    save_file({"weight": torch.arange(6.0).reshape(2, 3)}, folder / files[0])
    save_file({"bias": torch.ones(2)}, folder / files[1])
    index = folder / f"{name}.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": dict(zip(("weight", "bias"), files, strict=True))}))
    return index


def filled(path, **choices):
    with torch.device("meta"):
        layer = nn.Linear(3, 2)
    ModelFiles(path, "the layer", **choices).load_into(layer, dtype=torch.float32, device="cpu")
    return layer


@pytest.mark.parametrize("given", ["index", "shard", "folder", "pipeline"])
def test_shards_are_found_by_index_shard_and_folder(given, tmp_path):
    index = sharded(tmp_path / "transformer")
    path = {"index": index, "shard": index.with_name("model-00002-of-00002.safetensors"), "folder": index.parent, "pipeline": tmp_path}[
        given
    ]
    layer = filled(path, folders=("transformer",))
    assert torch.equal(layer.weight, torch.arange(6.0).reshape(2, 3))
    assert torch.equal(layer.bias, torch.ones(2))


def test_missing_shard_is_reported(tmp_path):
    index = sharded(tmp_path)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(TrainerError, match=r"needs the shard model-00002-of-00002\.safetensors"):
        ModelFiles(index, "the layer")
    index.write_text("{")
    with pytest.raises(TrainerError, match="cannot be read as an index"):
        ModelFiles(index, "the layer")
    index.unlink()
    os.mkfifo(index)
    with pytest.raises(TrainerError, match=r"index\.json cannot be read: it is a named pipe"):
        ModelFiles(index, "the layer")


def test_folder_without_or_with_too_many_files_is_reported(tmp_path):
    with pytest.raises(TrainerError, match=r"contains no \.safetensors file"):
        ModelFiles(tmp_path, "the layer")
    for name in ("a", "b"):
        save_file({"weight": torch.ones(1)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(TrainerError, match=r"contains 2 \.safetensors files"):
        ModelFiles(tmp_path, "the layer")


def test_load_into_meta_module_converts_floats_only(tmp_path):
    module = nn.BatchNorm1d(4)
    module.running_mean += 2
    save_file(module.state_dict(), tmp_path / "norm.safetensors")
    with torch.device("meta"):
        empty = nn.BatchNorm1d(4)
    ModelFiles(tmp_path / "norm.safetensors", "the norm").load_into(empty, dtype=torch.float16, device="cpu")
    assert empty.weight.dtype == torch.float16
    assert empty.num_batches_tracked.dtype == torch.int64
    assert empty.running_mean.tolist() == [2, 2, 2, 2]


def test_tensor_of_wanted_type_is_not_copied(tmp_path):
    save_file(nn.Linear(3, 2).state_dict(), tmp_path / "l.safetensors")
    with torch.device("meta"):
        layer = nn.Linear(3, 2)
    file = ModelFiles(tmp_path / "l.safetensors", "the layer")
    file.load_into(layer, dtype=torch.float32, device="cpu")
    assert layer.weight.data_ptr() == file.raw("weight")[0].data_ptr()


def test_wrong_shape_is_reported(tmp_path):
    save_file(nn.Linear(3, 5).state_dict(), tmp_path / "linear.safetensors")
    with pytest.raises(TrainerError, match=r"weight is \[5, 3\], not \[2, 3\]"):
        filled(tmp_path / "linear.safetensors")


@pytest.mark.parametrize(
    ("weight", "words"),
    [
        (torch.tensor([[1.0, 2, float("nan")], [1, 1, 1]]), "weight contains NaN or infinity"),
        (torch.tensor([[1.0, 2, float("-inf")], [1, 1, 1]]).bfloat16(), "weight contains NaN or infinity"),
        (torch.tensor([[1.0, 2, float("nan")], [1, 1, 1]]).to(torch.float8_e4m3fn), "weight contains NaN or infinity"),
        (torch.ones(2, 3, dtype=torch.uint8), "quantization of another program"),
        (torch.ones(3, 1, dtype=torch.uint8), "quantization of another program"),  # bitsandbytes' two numbers per byte
    ],
)
def test_weights_that_are_not_finite_numbers_are_reported(weight, words, tmp_path):
    save_file({"weight": weight, "bias": torch.ones(2)}, tmp_path / "l.safetensors")
    with pytest.raises(TrainerError, match=words) as caught:
        filled(tmp_path / "l.safetensors")
    assert caught.value.reason_code == "bad_model"


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.float8_e5m2])
@pytest.mark.parametrize(("scale_name", "num_scales"), [("scale_weight", 1), ("weight_scale", 2), (None, 0)])
def test_float8_is_multiplied_with_its_scales(kind, scale_name, num_scales, tmp_path):
    stored = torch.tensor([[1.0, -2.0, 0.5], [3.0, 0.25, -1.0]]).to(kind)  # numbers that float8 has exactly
    scale = torch.tensor([0.125, 0.75])[:num_scales]
    tensors = {"model.weight": stored, "model.bias": torch.zeros(2), "model.input_scale": torch.ones(()), "other": torch.ones(1)}
    if scale_name:
        tensors[f"model.{scale_name}"] = scale.reshape(-1, 1) if num_scales > 1 else scale.reshape(())
    save_file(tensors, tmp_path / "l.safetensors")
    expected = stored.float().numpy() * (scale.numpy().reshape(-1, 1) if num_scales else np.float32(1))
    assert np.array_equal(filled(tmp_path / "l.safetensors", prefixes=("model.",)).weight.numpy(), expected)


def test_scales_that_fit_neither_tensor_nor_rows_are_refused(tmp_path):
    tensors = {"weight": torch.ones(2, 3).to(torch.float8_e4m3fn), "bias": torch.zeros(2), "weight_scale": torch.ones(3)}
    save_file(tensors, tmp_path / "l.safetensors")
    with pytest.raises(TrainerError, match="weight_scale scales neither"):
        filled(tmp_path / "l.safetensors")


def test_scale_that_is_missing_beside_others_is_reported(tmp_path):
    tensors = {name: torch.ones(2, 3).to(torch.float8_e4m3fn) for name in ("a.weight", "weight")}
    save_file({**tensors, "bias": torch.zeros(2), "a.scale_weight": torch.ones(())}, tmp_path / "l.safetensors")
    with pytest.raises(TrainerError, match="the scale of the tensor weight is missing"):
        filled(tmp_path / "l.safetensors")


def test_index_that_names_no_file_is_damaged(tmp_path):
    (tmp_path / "m.safetensors.index.json").write_text('{"weight_map": {"a": 3}}')
    with pytest.raises(TrainerError, match="cannot be read as an index"):
        ModelFiles(tmp_path / "m.safetensors.index.json", "the layer")


def test_split_tensors_are_concatenated_with_their_scales(tmp_path):
    tensors = {name: torch.full((2, 3), value).to(torch.float8_e4m3fn) for name, value in (("q.weight", 1.0), ("k.weight", 2.0))}
    save_file(
        {**tensors, "q.scale_weight": torch.tensor(1.0), "k.scale_weight": torch.tensor(0.5), "v.weight": torch.full((2, 3), 7.0)},
        tmp_path / "l.safetensors",
    )
    file = ModelFiles(tmp_path / "l.safetensors", "the layer")
    file.translate({"qk": TensorRecipe(("q.weight", "k.weight")), "qkv": TensorRecipe(("q.weight", "k.weight", "v.weight")),
                    "vk": TensorRecipe(("v.weight", "q.weight"), swap_halves=True)})  # fmt: skip
    raw, scale = file.raw("qk")
    assert raw.dtype == torch.float8_e4m3fn
    assert scale.flatten().tolist() == [1, 1, 0.5, 0.5]
    assert file.tensor("qkv", torch.float32)[:, 0].tolist() == [1, 1, 1, 1, 7, 7]  # one in another precision
    assert file.tensor("vk", torch.float32)[:, 0].tolist() == [1, 1, 7, 7]


MEASURE = """
import json, sys
import torch
from library.models.flux1.loading import load_flux
from library.placement.quantization import quantized_store, quantize_blocks
path, kind, mapped = sys.argv[1], sys.argv[2], sys.argv[3] == "mapped"
cpu, dtype = torch.device("cpu"), torch.bfloat16
def prepare(flux):
    quantize_blocks(flux.blocks, kind, dtype)
    return quantized_store(cpu, lambda name: cpu)
load = lambda: load_flux(path, dtype=dtype, device="cpu", prepare=None if kind == "none" else prepare, mapped=mapped)
load()  # what the libraries themselves take at first use is in memory now
with open("/proc/self/clear_refs", "w") as peak: peak.write("5")
read = lambda field: next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith(field))
before = read("VmRSS")
flux = load()
print(json.dumps({"peak": read("VmHWM") - before, "kept": sum(t.nbytes for t in [*flux.parameters(), *flux.buffers()])}))
"""


@pytest.fixture(scope="module", name="wide_file")
def fixture_wide_file(tmp_path_factory):
    """A transformer of 100 MB in float16, so that each way of keeping it has to convert it."""
    from dataclasses import replace

    from tests.support.tiny_models import PARAMS, make_flux

    wide = replace(PARAMS, hidden_size=640, mlp_dim=2560, num_heads=10, depth=2, depth_single_blocks=4)
    path = tmp_path_factory.mktemp("wide") / "flux.safetensors"
    save_file({name: tensor.half() for name, tensor in make_flux(wide).state_dict().items()}, path)
    return path


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of memory is measured by Linux's /proc")
@pytest.mark.parametrize(("kind", "mapped"), [("none", "mapped"), ("fp8", "mapped"), ("fp8", "read")])
def test_memory_while_loading_is_what_is_kept_and_largest_tensor(kind, mapped, wide_file):
    environment = {"PYTHONPATH": str(ROOT / "sd-scripts"), "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run([sys.executable, "-c", MEASURE, str(wide_file), kind, mapped], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    largest = 640 * (3 * 640 + 2560) * 2  # a single block's linear1, in float16
    print(figures, largest)
    assert figures["peak"] < 1.03 * figures["kept"] + 2 * largest, figures


def test_fingerprint_covers_every_shard_and_every_file_of_folder(tmp_path):
    index = {"weight_map": {"a": "m-00001-of-00002.safetensors", "b": "m-00002-of-00002.safetensors"}}
    for copy in ("one", "two"):
        folder = tmp_path / copy
        folder.mkdir()
        (folder / "m.safetensors.index.json").write_text(json.dumps(index))
        for number, name in enumerate(index["weight_map"].items()):
            save_file({name[0]: torch.full((3,), float(number + (copy == "two" and number)))}, folder / name[1])
    (one, two), (first, other) = (
        [fingerprint(tmp_path / copy / name) for copy in ("one", "two")] for name in ("", "m.safetensors.index.json")
    )
    assert one != two
    assert first != other
    assert fingerprint(tmp_path / "one" / "m-00001-of-00002.safetensors") == first
    save_file({"a": torch.ones(3)}, tmp_path / "alone.safetensors")
    assert fingerprint(tmp_path / "alone.safetensors") == fingerprint_of_file(tmp_path / "alone.safetensors")


def test_byte_order_mark_in_index_is_ignored(tmp_path):
    index = sharded(tmp_path)
    index.write_text(index.read_text(), encoding="utf-8-sig")
    assert torch.equal(filled(index).bias, torch.ones(2))
