"""A trainer that does not check its lease is killed with its group once another start has the folder, and by nothing else."""

import subprocess
import sys

import pytest

from fluxgym.runs.paths import RunPaths
from fluxgym.runs.process_identity import group_members, identify
from fluxgym.supervisor import fence as fence_module
from fluxgym.supervisor.fence import fence, main, start_fence
from fluxgym.supervisor.lease_keeper import LeaseKeeper
from fluxgym.supervisor.trainer_process import AdoptedTrainer
from tests.support.runs import wait_for

WITH_CHILD = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); time.sleep(60)"


@pytest.fixture(name="run")
def fixture_run(tmp_path):
    run = RunPaths(tmp_path / "cat")
    run.private.mkdir(parents=True)
    return run


@pytest.fixture(name="trainer")
def fixture_trainer():
    """A process with a child in a group of its own."""
    process = subprocess.Popen([sys.executable, "-c", WITH_CHILD], start_new_session=True)
    wait_for(lambda: len(group_members(process.pid)) == 2)
    yield process
    process.kill()
    process.wait()


def test_trainer_and_its_children_are_killed_when_another_start_takes_lease(run, trainer):
    holder = LeaseKeeper.take(run.lease).holder
    process = start_fence(run, "id-cat", trainer.pid, holder)
    LeaseKeeper.take(run.lease)
    wait_for(lambda: trainer.poll() is not None and not group_members(trainer.pid))
    assert process.wait() == 0  # it ends with the trainer


@pytest.mark.parametrize("lease", ["its own", "none", "damaged"])
def test_trainer_continues_under_its_own_lease_and_one_that_cannot_be_read(lease, run, trainer, monkeypatch):
    holder = LeaseKeeper.take(run.lease).holder
    if lease == "none":
        run.lease.unlink()
    elif lease == "damaged":
        run.lease.write_text("{")
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        if len(pauses) == 3:
            trainer.terminate()
            trainer.wait()

    monkeypatch.setattr(fence_module.time, "sleep", pause)
    fence(run, AdoptedTrainer(identify(trainer.pid, "id-cat")), holder)
    assert (len(pauses), trainer.returncode) == (3, -15)


def test_process_in_group_of_another_one_is_not_changed(run):
    LeaseKeeper.take(run.lease)
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    assert main(str(run.folder), "id-cat", str(process.pid), "someone else") == 0
    assert process.poll() is None
    process.kill()
    process.wait()
    assert main(str(run.folder), "id-cat", str(process.pid), "someone else") == 0  # it has ended
