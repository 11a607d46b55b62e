"""The header is read as the safetensors library reads it, and a damaged one is refused."""

import json
import struct

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from fluxgym.contract.safetensors import is_whole, read_header


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    return tmp_path / "x.safetensors"


def test_it_tells_what_the_library_tells(path):
    save_file({"a": torch.ones(3, 5), "b": torch.ones(7, dtype=torch.bfloat16)}, path, metadata={"ss_seed": "42"})
    header = read_header(path)
    with safe_open(path, "pt") as reference:
        assert set(header.tensors) == set(reference.keys())
        assert header.metadata == reference.metadata()
        assert {name: entry["shape"] for name, entry in header.tensors.items()} == {
            name: reference.get_slice(name).get_shape()
            for name in reference.keys()  # noqa: SIM118 - it is no mapping
        }
    assert header.file_bytes == path.stat().st_size
    assert is_whole(path)


def packed(header):
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(head)) + head


ENTRY = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
DAMAGED = {
    "nothing": b"",
    "a torn length": b"1234567",
    "a length beyond the file": struct.pack("<Q", 1000) + b"{}",
    "a length beyond all sense": struct.pack("<Q", 1 << 62) + b"{}",
    "no JSON": packed(b"{half"),
    "no table": packed([]),
    "deep nesting": packed(b"[" * 100_000),
    "metadata that is none": packed({"__metadata__": 7, "a": ENTRY}),
    "an entry that is none": packed({"a": 7}),
    "no dtype": packed({"a": {"shape": [1], "data_offsets": [0, 4]}}),
    "no place": packed({"a": {"dtype": "F32", "shape": [1]}}),
    "a place backwards": packed({"a": ENTRY | {"data_offsets": [4, 0]}}),
    "a place before the beginning": packed({"a": ENTRY | {"data_offsets": [-4, 0]}}),
    "a place of words": packed({"a": ENTRY | {"data_offsets": ["0", "4"]}}),
    "half a place": packed({"a": ENTRY | {"data_offsets": [0]}}),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_header_is_refused(path, name):
    path.write_bytes(DAMAGED[name])
    with pytest.raises(ValueError, match=r"cut short|damaged|no \.safetensors file"):
        read_header(path)
    assert not is_whole(path)


def test_a_file_that_is_longer_or_shorter_than_it_says_is_not_whole(path):
    for data, whole in ((bytes(4), True), (bytes(3), False), (bytes(5), False)):
        path.write_bytes(packed({"a": ENTRY}) + data)
        assert is_whole(path) is whole
    path.write_bytes(packed({}))
    assert not is_whole(path)  # it holds nothing
    assert not is_whole(path.with_name("gone"))
