"""What a folder held before an attempt: files of the attempt are recognized independent of the clock."""

import os

import pytest

from fluxgym.runs.launch_spec import LaunchSpec
from fluxgym.supervisor.earlier_files import is_new_lora, note_earlier_files, read_earlier_files
from fluxgym.trainers.builtin import BuiltinBackend
from tests.support.runs import make_run, write_checkpoint

SPEC = LaunchSpec(run_id="id-cat", attempt=2, trainer_dir="/")


def test_lora_that_was_there_before_is_not_new_and_replaced_one_is(tmp_path):
    run = make_run(tmp_path)
    run.lora.write_bytes(b"before")
    note_earlier_files(run, SPEC, BuiltinBackend())
    earlier = read_earlier_files(run, SPEC)
    assert not is_new_lora(run, earlier)
    new = run.folder / "new"
    new.write_bytes(b"newer!")
    os.utime(new, (1.0, 1.0))  # the clock was set back by decades
    new.rename(run.lora)
    assert is_new_lora(run, earlier)


def test_checkpoints_are_noted_with_their_times(tmp_path):
    run = make_run(tmp_path)
    folder = write_checkpoint(run, "cat-step00000003-state", 3)
    note_earlier_files(run, SPEC, BuiltinBackend())
    assert read_earlier_files(run, SPEC).checkpoints == {folder.name: (folder / "manifest.json").stat().st_mtime}


@pytest.mark.parametrize("text", [None, "{", "[]", '{"run_id": "id-cat"}', '{"run_id": "id-cat", "attempt": 2, "checkpoints": 7}'])
def test_missing_or_damaged_earlier_json_is_ignored(tmp_path, text):
    run = make_run(tmp_path)
    if text is not None:
        run.earlier.write_text(text)
    assert read_earlier_files(run, SPEC) is None


def test_earlier_json_of_another_attempt_is_ignored(tmp_path):
    run = make_run(tmp_path)
    note_earlier_files(run, LaunchSpec(run_id="id-cat", attempt=1, trainer_dir="/"), BuiltinBackend())
    assert read_earlier_files(run, SPEC) is None
