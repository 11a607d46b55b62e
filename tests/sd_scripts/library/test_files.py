"""Files are complete or absent, and leftovers of a killed writer are repaired."""

import resource

import pytest
import torch

from fluxgym.contract.files import epoch_suffix, lora_name, state_name, step_suffix
from library.errors import TrainerError
from library.files import OLD_ENDING, clear_leftovers, complete_folder, disk_errors, tmp_path_of
from library.weights.safetensors_file import save_tensors


def test_failed_folder_write_removes_temporary_folder(tmp_path):
    with pytest.raises(ValueError, match="half"), complete_folder(tmp_path / "a-state") as staging:
        (staging / "x").touch()
        raise ValueError("half")
    assert not list(tmp_path.iterdir())


def test_replaced_folder_is_restored_when_writer_died_between_two_renames(tmp_path):
    (tmp_path / f"a-state{OLD_ENDING}").mkdir()
    (tmp_path / "a-000001-state.partial").mkdir()
    (tmp_path / "a-step00000004.safetensors.71.partial").touch()
    others = ["a2-state.partial", "a2.safetensors.71.partial", "a-b-state.partial", "b-state.partial"]
    for name in others:
        (tmp_path / name).mkdir()
    clear_leftovers(tmp_path, "a")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["a-state", *others])


@pytest.mark.parametrize("suffix", ["", epoch_suffix(4), step_suffix(120)])
def test_temporary_files_of_killed_training_are_found_as_they_are_reported(tmp_path, suffix):
    for path in (tmp_path / lora_name("a", suffix), tmp_path / state_name("a", suffix)):
        tmp_path_of(path).touch()
    clear_leftovers(tmp_path, "b")
    assert len(list(tmp_path.iterdir())) == 2
    clear_leftovers(tmp_path, "a")
    assert not list(tmp_path.iterdir())


def test_path_that_cannot_be_written_is_not_full_disk(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(TrainerError, match="cannot be written") as caught, disk_errors(tmp_path / "file" / "x"):
        (tmp_path / "file" / "x").write_text("x")
    assert caught.value.reason_code == "storage"


def test_full_disk_raises_error_with_message(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    try:
        with pytest.raises(TrainerError, match="disk is full") as caught:
            save_tensors({"x": torch.zeros(1 << 20)}, tmp_path / "x.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.reason_code == "disk_full"
    assert not list(tmp_path.iterdir())
