"""States of kohya's trainer: only complete ones are offered; an invalid position is ignored."""

import os
import zipfile

import pytest

from fluxgym.contract.checkpoint_manifest import KohyaPosition
from fluxgym.contract.files import KOHYA_POSITION
from fluxgym.runs.checkpoints import list_complete
from fluxgym.trainers.builtin import BuiltinBackend
from fluxgym.trainers.kohya.backend import KohyaBackend
from fluxgym.trainers.kohya.states import is_complete, read_position, read_state_folder, write_position
from tests.support.runs import make_run


def test_complete_state_is_resumable_but_not_exact(folder):
    assert is_complete(folder, verify=True)
    found = read_state_folder(folder, verify=True)
    assert (found.step, found.epoch, found.total_steps) == (7, 1, 0)
    assert BuiltinBackend().read_checkpoint(folder, verify=False) is None


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.bin", "scheduler.bin", "random_states_0.pkl"])
def test_truncated_file_makes_state_incomplete(folder, name):
    os.truncate(folder / name, (folder / name).stat().st_size - 9)
    assert not is_complete(folder)


@pytest.mark.parametrize("name", ["train_state.json", "model.safetensors", "optimizer.bin", "random_states_0.pkl"])
def test_missing_file_makes_state_incomplete(folder, name):
    (folder / name).unlink()
    assert not is_complete(folder)


def test_flipped_byte_is_found_when_it_is_verified(folder):
    path = folder / "optimizer.bin"
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
    data = bytearray(path.read_bytes())
    data[largest.header_offset + 200] ^= 1
    path.write_bytes(data)
    assert not is_complete(folder, verify=True)


def test_partly_overwritten_state_is_incomplete(folder):
    path = folder / "random_states_0.pkl"
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 60))
    assert not is_complete(folder)


def test_state_position_is_recorded_by_supervisor_until_overwritten(folder):
    write_position(folder, KohyaPosition(step=47, epoch=4, total_steps=80))
    assert read_state_folder(folder).step == 47
    os.utime(folder / KOHYA_POSITION, (0, 0))
    assert read_position(folder).step == 7


@pytest.mark.parametrize("text", ["{}", "[]", "no json", '{"step": "7", "epoch": 1, "total_steps": 9}', '{"step": 7}'])
def test_damaged_position_returns_none(folder, text):
    (folder / KOHYA_POSITION).write_text(text)
    assert read_position(folder) is None
    (folder / KOHYA_POSITION).unlink()
    (folder / "train_state.json").write_text(text)
    assert read_position(folder) is None


def test_states_are_sorted_by_true_step_descending(folder):
    later = folder.with_name("cat-000003-state")
    later.mkdir()
    for path in folder.iterdir():
        (later / path.name).write_bytes(path.read_bytes())
    write_position(later, KohyaPosition(step=30, epoch=3, total_steps=80))
    run = make_run(folder.parents[1], "other")
    assert list_complete(run, KohyaBackend()) == []
    found = list_complete(type(run)(folder.parent), KohyaBackend())
    assert [checkpoint.name for checkpoint in found] == ["cat-000003-state", "cat-step00000007-state"]
