"""The registry of trainers: each folder and each stored name leads to one backend, which makes the command of every attempt."""

import sys
from pathlib import Path

import pytest

from fluxgym.errors import NothingToResume
from fluxgym.runs.launch_spec import LaunchSpec, write_launch_spec
from fluxgym.trainers.base import BACKENDS, backend_for, backend_named, backend_of, choose_checkpoint, with_command
from tests.support.fake_kohya import write_checkout
from tests.support.runs import make_run


def test_folder_belongs_to_one_backend(tmp_path):
    assert backend_for(write_checkout(tmp_path / "kohya")).name == "kohya"
    assert backend_for(tmp_path).name == "builtin"


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name)
def test_backend_is_found_by_its_name(backend):
    assert backend_named(backend.name) is backend


def test_unknown_name_is_built_in_trainer():
    assert backend_named("of a later version").name == "builtin"


def test_run_keeps_its_backend(tmp_path):
    run = make_run(tmp_path)
    assert backend_of(run).name == "builtin"
    write_launch_spec(run, LaunchSpec(run_id="id-cat", attempt=1, backend="kohya", trainer_dir="/kohya"))
    assert backend_of(run).name == "kohya"


def test_built_in_command_has_options_and_checkpoint(tmp_path):
    spec = LaunchSpec(run_id="x", attempt=1, trainer_dir=str(tmp_path), options={"--sdpa": None, "--network_args": ("a=1", "b=2")})
    start = (sys.executable, "-u", str(tmp_path / "flux_train_network.py"), "--sdpa", "--network_args", "a=1", "b=2")
    run = make_run(tmp_path)
    first = with_command(spec, run)
    assert first.argv == start
    second = with_command(first.next_attempt(Path("/runs/one-state")), run)
    assert second.argv == (*start, "--resume", "/runs/one-state")
    third = with_command(second.next_attempt(Path("/runs/two-state")), run)
    assert third.argv == (*start, "--resume", "/runs/two-state")
    assert with_command(third.next_attempt(None), run).argv == third.argv


def test_checkpoints_of_another_trainer_are_reported_in_refusal(folder):
    run = make_run(folder.parents[1], "other")
    folder.rename(run.folder / "other-step00000007-state")
    assert choose_checkpoint(run, backend_named("kohya")).step == 7
    with pytest.raises(NothingToResume, match="only with the trainer that wrote its checkpoints: a kohya checkout"):
        choose_checkpoint(run, backend_named("builtin"))


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name)
def test_notice_is_given_exactly_for_trainers_that_resume_inexactly(backend):
    assert (backend.resume_notice() == "") == backend.resumes_exactly
