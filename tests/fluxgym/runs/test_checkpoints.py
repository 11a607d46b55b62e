"""Only complete checkpoints are offered, the latest first; the guide's short names are accepted."""

import hashlib
import json
import os
import shlex
import shutil

import pytest

from fluxgym.cli.main import build_parser
from fluxgym.contract.files import CHECKPOINT_FILES
from fluxgym.errors import NothingToResume
from fluxgym.runs.checkpoints import list_complete
from fluxgym.trainers.base import choose_checkpoint
from fluxgym.trainers.builtin import BuiltinBackend
from library.errors import TrainerError
from library.training.checkpoint import verify_checkpoint
from tests.support.runs import make_run, write_checkpoint

BUILTIN = BuiltinBackend()


@pytest.fixture(name="run")
def fixture_run(tmp_path):
    run = make_run(tmp_path, "my-cat-lora")
    write_checkpoint(run, "my-cat-lora-000004-state", 40)
    write_checkpoint(run, "my-cat-lora-step00000055-state", 55)
    return run


def test_checkpoints_are_sorted_by_step_descending(run):
    assert [found.step for found in list_complete(run, BUILTIN)] == [55, 40]
    assert choose_checkpoint(run, BUILTIN).step == 55


def test_truncated_checkpoint_is_not_offered_and_changed_one_not_chosen(run):
    (run.folder / "my-cat-lora-step00000055-state" / "model.safetensors").write_bytes(b"WEIGHTS")
    assert choose_checkpoint(run, BUILTIN).step == 40
    (run.folder / "my-cat-lora-step00000055-state" / "model.safetensors").write_bytes(b"wei")
    assert [found.step for found in list_complete(run, BUILTIN)] == [40]


def test_incomplete_folders_and_folders_of_other_programs_are_not_offered(run):
    (run.folder / "my-cat-lora-000008-state.partial").mkdir()
    (run.folder / "my-cat-lora-000012-state").mkdir()
    assert [found.step for found in list_complete(run, BUILTIN)] == [55, 40]


def test_short_checkpoint_name_of_guide_is_accepted(run):
    assert choose_checkpoint(run, BUILTIN, "my-cat-lora-4-state").step == 40
    assert choose_checkpoint(run, BUILTIN, "my-cat-lora-000004-state").step == 40
    with pytest.raises(NothingToResume, match="my-cat-lora-step00000055-state"):
        choose_checkpoint(run, BUILTIN, "my-cat-lora-7-state")
    with pytest.raises(NothingToResume):
        choose_checkpoint(run, BUILTIN, "../../elsewhere-state")


def test_last_checkpoint_of_second_version_is_not_mistaken_for_epoch_of_first(tmp_path):
    run = make_run(tmp_path, "cat-2")
    write_checkpoint(run, "cat-2-state", 90)
    assert choose_checkpoint(run, BUILTIN, "cat-2-state").step == 90


def test_missing_checkpoint_is_reported_with_remedy(tmp_path):
    with pytest.raises(NothingToResume, match="in the terminal, start it again with start --if-exists new --state"):
        choose_checkpoint(make_run(tmp_path), BUILTIN)


def test_command_for_run_without_checkpoint_can_be_given_as_it_is(tmp_path):
    run = make_run(tmp_path, "my cat")
    with pytest.raises(NothingToResume) as refused:
        choose_checkpoint(run, BUILTIN)
    named = build_parser().parse_args(shlex.split(str(refused.value).partition("start it again with ")[2].removesuffix(".")))
    assert (named.state, named.images, named.if_exists) == (run.ui_state, run.dataset, "new")


def test_damaged_checkpoint_is_not_offered_until_rewritten(run):
    folder = run.folder / "my-cat-lora-step00000055-state"
    (folder / "model.safetensors").write_bytes(b"WEIGHTS")
    assert [found.step for found in list_complete(run, BUILTIN)] == [55, 40]  # sizes do not show it
    assert choose_checkpoint(run, BUILTIN).step == 40
    assert [found.step for found in list_complete(run, BUILTIN)] == [40]
    shutil.rmtree(folder)
    manifest = write_checkpoint(run, folder.name, 55) / "manifest.json"
    os.utime(manifest, (manifest.stat().st_mtime + 5,) * 2)
    assert [found.step for found in list_complete(run, BUILTIN)] == [55, 40]


@pytest.mark.parametrize("change", [{"step": 9}, {"batch_in_epoch": -1}, {"losses": "x"}, None])
def test_checkpoint_with_invalid_values_is_not_offered(run, change):
    folder = run.folder / "my-cat-lora-step00000055-state"
    state = {"step": 55, "epoch": 1, "batch_in_epoch": 3, "total_steps": 90, "seed": 42, "fixed": {}}
    text = json.dumps(state | change if change else [])
    (folder / "train_state.json").write_text(text)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["train_state.json"] = {"bytes": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert [found.step for found in list_complete(run, BUILTIN)] == [40]


@pytest.mark.parametrize("verify", [False, True])
@pytest.mark.parametrize("name", CHECKPOINT_FILES)
def test_one_whose_manifest_leaves_out_what_the_trainer_needs_is_not_offered(run, name, verify):
    folder = run.folder / "my-cat-lora-step00000055-state"
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"][name]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert BUILTIN.read_checkpoint(folder, verify=verify) is None
    assert [found.step for found in list_complete(run, BUILTIN)] == [40]
    with pytest.raises(TrainerError, match=f"its manifest does not list {name}"):
        verify_checkpoint(folder)


@pytest.mark.parametrize("text", ["[]", "{", '{"my-cat-lora-step00000055-state": "x"}', '{"a": 1e999}'])
def test_damaged_list_of_refused_checkpoints_is_ignored(run, text):
    run.refused_checkpoints.write_text(text)
    assert [found.step for found in list_complete(run, BUILTIN)] == [55, 40]
