"""The verification of a LoRA: files written by the safetensors library as the reference, or damaged by hand."""

import json
import os
import struct

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fluxgym.supervisor.verify_lora import verify_lora

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


@pytest.fixture(name="lora")
def fixture_lora(tmp_path):
    return tmp_path / "cat.safetensors"


def reason(lora, *, started_at=0.0, expected=4, step=4):
    result = verify_lora(lora, started_at, expected, step)
    assert result["ok"] == (not result["reason"])
    return result["reason"]


@pytest.mark.parametrize("dtype", [*DTYPES, torch.int64, torch.uint8, torch.bool])
def test_file_of_finite_numbers_is_valid(lora, dtype):
    save_file({"a": torch.ones(3, 5, dtype=dtype), "empty": torch.ones(0, dtype=dtype)}, lora, metadata={"format": "pt"})
    assert reason(lora) == ""
    assert verify_lora(lora, 0.0, 4, 4)["num_tensors"] == 2


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", DTYPES)
def test_file_with_nan_or_infinity_is_invalid(lora, dtype, value):
    values = torch.ones(100, dtype=dtype)
    values[57] = value
    save_file({"good": torch.ones(3, dtype=dtype), "bad": values}, lora)
    assert "the tensor bad in cat.safetensors contains NaN or infinity" in reason(lora)


@pytest.mark.parametrize("dtype", DTYPES)
def test_extreme_finite_values_are_valid(lora, dtype):
    info = torch.finfo(dtype)
    save_file({"a": torch.tensor([info.max, info.min, info.tiny, info.tiny / 2, -0.0], dtype=dtype)}, lora)
    assert reason(lora) == ""


def write(lora, header, data):
    head = json.dumps(header).encode()
    lora.write_bytes(struct.pack("<Q", len(head)) + head + data)


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F4", "C64", "nonsense"])
def test_unknown_dtype_cannot_be_checked(lora, dtype):
    write(lora, {"a": {"dtype": dtype, "shape": [4], "data_offsets": [0, 4]}}, b"\x7f" * 4)
    assert "cannot be checked" in reason(lora)


def test_tensor_size_that_contradicts_dtype_is_invalid(lora):
    write(lora, {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 3]}}, b"abc")
    assert "cannot be checked" in reason(lora)


def test_truncated_too_long_empty_and_missing_file_are_invalid(lora):
    assert reason(lora) == "it left no cat.safetensors"
    save_file({"a": torch.ones(3)}, lora)
    whole = lora.read_bytes()
    for data, words in ((whole[:-1], "cut short"), (whole[:4], "cut short"), (whole + b"x", "too long"), (b"", "cut short")):
        lora.write_bytes(data)
        assert words in reason(lora)
    write(lora, {}, b"")
    assert "contains no tensors" in reason(lora)


def test_step_count_in_metadata_must_equal_expected_steps(lora):
    save_file({"a": torch.ones(3)}, lora)
    assert reason(lora, step=3) == "only 3 of 4 steps were trained"
    assert reason(lora, step=5) == ""


def test_file_older_than_start_is_invalid(lora):
    save_file({"a": torch.ones(3)}, lora)
    moment = lora.stat().st_mtime
    assert reason(lora, started_at=moment) == ""
    assert "older than this start" in reason(lora, started_at=np.nextafter(moment, np.inf))
    os.utime(lora, (moment - 3600,) * 2)
    assert "older than this start" in reason(lora, started_at=moment)
