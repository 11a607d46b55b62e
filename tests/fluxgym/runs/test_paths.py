"""Names: which checkpoint a given name selects, and which names are not names of runs."""

import pytest

from fluxgym.errors import SessionNotFound
from fluxgym.runs.paths import OutputsPaths, RunPaths


@pytest.mark.parametrize(
    ("slug", "named", "folder"),
    [
        ("cat", "cat-4-state", "cat-000004-state"),
        ("cat", "cat-000004-state", "cat-000004-state"),
        ("cat", "cat-step00000123-state", "cat-step00000123-state"),
        ("cat", "cat-state", "cat-state"),
        ("cat", "dog-4-state", "dog-4-state"),  # the short form is for this run's own
        ("cat-2", "cat-2-state", "cat-2-state"),  # the last one of a second version
        ("cat-2", "cat-2-3-state", "cat-2-000003-state"),
        ("cat", "../../elsewhere/cat-4-state", "cat-000004-state"),
    ],
)
def test_checkpoint_named_by_user_is_found(slug, named, folder, tmp_path):
    run = RunPaths(tmp_path / slug)
    assert run.checkpoint(named) == run.folder / folder


def test_folder_with_exact_name_has_precedence(tmp_path):
    run = RunPaths(tmp_path / "cat")
    (run.folder / "cat-4-state").mkdir(parents=True)
    assert run.checkpoint("cat-4-state").name == "cat-4-state"


def test_checkpoint_folders_are_known_by_their_names(tmp_path):
    run = RunPaths(tmp_path / "cat")
    names = {"cat-000004-state", "cat-step00000123-state", "cat-state"}
    for name in names | {"cat-000008-state.partial", "sample"}:
        (run.folder / name).mkdir(parents=True)
    (run.folder / "file-state").touch()
    assert {path.name for path in run.checkpoint_folders()} == names


def test_trained_model_is_sorted_last(tmp_path):
    run = RunPaths(tmp_path / "cat")
    run.folder.mkdir()
    for name in ("cat.safetensors", "cat-000004.safetensors", "other.safetensors"):
        (run.folder / name).touch()
    assert [path.name for path in run.lora_files()] == ["cat-000004.safetensors", "other.safetensors", "cat.safetensors"]


@pytest.mark.parametrize("name", ["", ".", "..", ".fluxgym", "a/b", "a\\b", "a\0b", "x" * 256, "\udcff"])
def test_name_that_is_not_plain_folder_name_is_not_found(name, tmp_path):
    with pytest.raises(SessionNotFound):
        OutputsPaths(tmp_path).run(name)


def test_folder_with_state_file_is_run(tmp_path):
    for name in ("cat", ".fluxgym", "lost+found"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "ui_state.json").touch()
    (tmp_path / "dog").mkdir()
    assert [run.slug for run in OutputsPaths(tmp_path).runs()] == ["cat"]
    assert list(OutputsPaths(tmp_path / "nowhere").runs()) == []
