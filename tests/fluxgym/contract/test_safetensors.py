"""Headers are read as the safetensors library reads them; damaged ones are refused with the type of damage."""

import json
import struct

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from fluxgym.contract.safetensors import HeaderError, HeaderProblem, TensorEntry, is_whole, read_header


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    return tmp_path / "x.safetensors"


def packed(header):
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(head)) + head


def test_read_header_of_file_of_library_equals_what_library_reads(path):
    save_file({"a": torch.ones(3, 5), "b": torch.ones(7, dtype=torch.bfloat16)}, path, metadata={"ss_seed": "42"})
    header = read_header(path)
    with safe_open(path, "pt") as reference:
        assert set(header.tensors) == set(reference.keys())
        assert header.metadata == reference.metadata()
        assert {name: list(entry.shape) for name, entry in header.tensors.items()} == {
            name: reference.get_slice(name).get_shape()
            for name in reference.keys()  # noqa: SIM118 - safe_open is not a mapping
        }
    assert header.file_bytes == path.stat().st_size
    assert is_whole(path)


def test_read_header_returns_entries_metadata_and_sizes(path):
    text = b'{"__metadata__":{"k":"v"},"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}'
    path.write_bytes(packed(text) + bytes(16))
    header = read_header(path)
    assert header.tensors == {"b": TensorEntry("BF16", (2, 3), 4, 16), "a": TensorEntry("F32", (), 0, 4)}
    assert list(header.tensors) == ["b", "a"]
    assert header.metadata == {"k": "v"}
    assert (header.data_start, header.file_bytes) == (8 + len(text), 8 + len(text) + 16)


ENTRY = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
NOT_ENTRIES = {
    "a number": 7,
    "no dtype": {"shape": [1], "data_offsets": [0, 4]},
    "a dtype that is not text": ENTRY | {"dtype": 3},
    "no shape": {"dtype": "F32", "data_offsets": [0, 4]},
    "a shape of text": ENTRY | {"shape": "11"},
    "a negative side": ENTRY | {"shape": [-1]},
    "no offsets": {"dtype": "F32", "shape": [1]},
    "an end before the beginning": ENTRY | {"data_offsets": [4, 0]},
    "a negative offset": ENTRY | {"data_offsets": [-4, 0]},
    "offsets of text": ENTRY | {"data_offsets": ["0", "4"]},
    "offsets of booleans": ENTRY | {"data_offsets": [False, True]},
    "fractional offsets": ENTRY | {"data_offsets": [0.0, 4.0]},
    "one offset": ENTRY | {"data_offsets": [0]},
}
BAD = {
    "empty": (b"", HeaderProblem.MISSING_BYTES),
    "seven bytes": (b"1234567", HeaderProblem.MISSING_BYTES),
    "a length beyond the file": (struct.pack("<Q", 1000) + b"{}", HeaderProblem.MISSING_BYTES),
    "a length beyond the limit": (struct.pack("<Q", 100_000_001) + b"{}", HeaderProblem.NOT_SAFETENSORS),
    "text": (b"Repository not found", HeaderProblem.NOT_SAFETENSORS),
    "half a JSON text": (packed(b"{half"), HeaderProblem.DAMAGED),
    "bytes that are not UTF-8": (packed(b"\xff{}"), HeaderProblem.DAMAGED),
    "a list": (packed([]), HeaderProblem.DAMAGED),
    "deep nesting": (packed(b"[" * 100_000), HeaderProblem.DAMAGED),
    "metadata that is a number": (packed({"__metadata__": 7, "a": ENTRY}), HeaderProblem.DAMAGED),
} | {f"an entry with {name}": (packed({"a": value}), HeaderProblem.DAMAGED) for name, value in NOT_ENTRIES.items()}


@pytest.mark.parametrize("name", BAD)
def test_read_header_of_bad_file_raises_its_kind(path, name):
    data, kind = BAD[name]
    path.write_bytes(data)
    with pytest.raises(HeaderError, match=kind.value) as caught:
        read_header(path)
    assert caught.value.kind is kind
    assert not is_whole(path)


@pytest.mark.parametrize(("extra", "kind"), [(-1, HeaderProblem.MISSING_BYTES), (1, HeaderProblem.TOO_LONG)])
def test_check_size_of_another_size_raises_its_kind(path, extra, kind):
    path.write_bytes(packed({"a": ENTRY}) + bytes(4))
    header = read_header(path)
    header.check_size(header.file_bytes)
    with pytest.raises(HeaderError) as caught:
        header.check_size(header.file_bytes + extra)
    assert caught.value.kind is kind


def test_is_complete_needs_tensors_and_size_of_header(path):
    for data, whole in ((bytes(4), True), (bytes(3), False), (bytes(5), False)):
        path.write_bytes(packed({"a": ENTRY}) + data)
        assert is_whole(path) is whole
    path.write_bytes(packed({}))
    assert not is_whole(path)  # no tensors
    assert not is_whole(path.with_name("gone"))
