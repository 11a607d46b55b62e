"""Caches: complete or absent, shared by runs and threads; their errors do not stop a training."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from fluxgym.contract.files import CACHE_FOLDER
from library.data import feature_cache
from library.data.feature_cache import KEPT_S, LEFT_BEHIND_S, Cache, key_of
from library.errors import TrainerError
from library.weights import safetensors_file

TENSORS = {"latents": torch.arange(24, dtype=torch.float32).reshape(2, 3, 4), "ids": torch.arange(5), "half": torch.ones(3).bfloat16()}
KEY = key_of("a")


def same(found):
    return found.keys() == TENSORS.keys() and all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)


def test_cache_is_shared_between_runs(tmp_path):
    Cache(to_disk=True).put(KEY, tmp_path, TENSORS)
    later = Cache(to_disk=True)
    assert later.find(KEY, tmp_path)
    assert same(later.get(KEY))
    assert not Cache(to_disk=True).find(key_of("b"), tmp_path)


def test_cache_key_parts_are_delimited():
    assert len({key_of("ab", "c"), key_of("a", "bc"), key_of("abc"), key_of(b"abc", "")}) == 4


def test_damaged_byte_in_cache_is_detected(tmp_path):
    Cache(to_disk=True).put(KEY, tmp_path, TENSORS)
    path = tmp_path / CACHE_FOLDER / f"{KEY}.safetensors"
    whole = path.read_bytes()
    for offset in range(0, len(whole), 7):
        path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 1]) + whole[offset + 1 :])
        assert not Cache(to_disk=True).find(KEY, tmp_path), offset
    path.write_bytes(whole[:-1])
    assert not Cache(to_disk=True).find(KEY, tmp_path)


def test_file_at_cache_folder_path_falls_back_to_memory(tmp_path):
    (tmp_path / CACHE_FOLDER).write_text("in the way")
    cache = Cache(to_disk=True)
    cache.put(KEY, tmp_path, TENSORS)
    assert same(cache.get(KEY))


def test_unwritable_cache_folder_falls_back_to_memory(tmp_path, monkeypatch):
    Cache(to_disk=True).put(key_of("b"), tmp_path, TENSORS)
    monkeypatch.setattr(feature_cache.os, "access", lambda *_: False)  # who runs the tests may write everywhere
    cache = Cache(to_disk=True)
    cache.put(KEY, tmp_path, TENSORS)
    assert same(cache.get(KEY))
    assert not (tmp_path / CACHE_FOLDER / f"{KEY}.safetensors").exists()


def test_memory_is_bounded_and_all_threads_read_same(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_cache, "MEMORY_BYTES", 400)
    cache = Cache(to_disk=True)
    keys = [key_of(index) for index in range(8)]
    for index, key in enumerate(keys):
        cache.put(key, tmp_path, {"x": torch.full((25,), float(index))})
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda turn: cache.get(keys[turn % 8])["x"][0].item() == turn % 8, range(800)))
    assert all(found)
    for path in (tmp_path / CACHE_FOLDER).iterdir():
        path.unlink()
    assert sum(is_readable(cache, key) for key in keys) == 4  # of 100 bytes each


def is_readable(cache, key):
    """Return True if a result can still be read."""
    try:
        return bool(cache.get(key))
    except TrainerError:
        return False


def test_concurrent_runs_write_same_cache_entry(tmp_path, monkeypatch):
    """The second one writes whole while the first one is about to rename its file."""
    sync, nested = safetensors_file.sync, []

    def other_run_first(path: Path) -> None:
        if not nested:
            nested.append(path)
            put = "Cache(to_disk=True).put(sys.argv[1], Path(sys.argv[2]), {'x': torch.zeros(3)})"
            code = f"import sys, torch; from pathlib import Path; from library.data.feature_cache import Cache; {put}"
            subprocess.run([sys.executable, "-c", code, KEY, str(tmp_path)], check=True, cwd=Path(feature_cache.__file__).parents[2])
        sync(path)

    monkeypatch.setattr(safetensors_file, "sync", other_run_first)
    Cache(to_disk=True).put(KEY, tmp_path, {"x": torch.zeros(3)})
    assert nested
    assert Cache(to_disk=True).find(KEY, tmp_path)
    assert [path.name for path in (tmp_path / CACHE_FOLDER).glob("*.partial")] == []


@pytest.mark.parametrize(("age", "is_left"), [(LEFT_BEHIND_S * 2, False), (0, True)])
def test_temporary_files_of_killed_run_are_removed_and_live_ones_kept(age, is_left, tmp_path):
    (tmp_path / CACHE_FOLDER).mkdir()
    left = tmp_path / CACHE_FOLDER / "x.safetensors.123.partial"
    left.write_text("torn")
    os.utime(left, (left.stat().st_mtime - age,) * 2)
    Cache(to_disk=True).put(KEY, tmp_path, TENSORS)
    assert left.exists() is is_left


def test_cache_entries_unused_for_long_are_removed(tmp_path):
    cache = Cache(to_disk=True)
    wanted, old, young = (key_of(name) for name in ("wanted", "old", "young"))
    for key in (wanted, old, young):
        cache.put(key, tmp_path, TENSORS)
    others = [tmp_path / CACHE_FOLDER / "note.txt", tmp_path / "cat_flux.npz"]
    for path in others:
        path.write_text("not ours")
    for path in (tmp_path / CACHE_FOLDER).iterdir():
        long_ago = path.stat().st_mtime - KEPT_S - 1000
        if young not in path.name:
            os.utime(path, (long_ago, long_ago))
    later = Cache(to_disk=True)
    assert later.find(wanted, tmp_path)
    later.remove_unused()
    assert {path.stem for path in (tmp_path / CACHE_FOLDER).glob("*.safetensors")} == {wanted, young}
    assert all(path.exists() for path in others)
