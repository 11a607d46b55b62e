"""The guide's detection logic and its troubleshooting, by its own commands over real runs: files removed, damaged, closed; processes killed."""

import contextlib
import os
from pathlib import Path

import pytest

from fluxgym.cli.main import main
from fluxgym.contract.codes import Status
from fluxgym.errors import FluxGymError, NameTaken
from fluxgym.runs.exit_record import read_exit
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.process_identity import read_record
from fluxgym.sessions.resume import resume
from tests.support.guide_installation import GuideInstallation, guide_installation, kill, requires_programs
from tests.support.runs import make_run, state_of


@pytest.fixture(name="world")
def fixture_world(tmp_path):
    with guide_installation(tmp_path) as world:
        yield world


# -- State Detection Logic, and a wrong status -------------------------------------------------------------------------------------


@requires_programs("ps")
def test_status_running_needs_pid_file_and_live_process(world):
    run = world.begin(held=True)
    world.sh("ps -p $(cat outputs/my-lora/training.pid)")
    assert world.rows()["my-lora"].status is Status.RUNNING
    assert read_record(run).trainer.pid == int(run.training_pid.read_text())
    kill(run)
    assert run.training_pid.exists()  # no process was left to remove it
    assert world.sh("ps -o stat= -p $(cat outputs/my-lora/training.pid) || true").strip()[:1] in (
        "",
        "Z",
    )  # gone, or a zombie; other letters follow, such as N for nice
    row = world.rows()["my-lora"]
    assert (row.status, row.reason_code) == (Status.STOPPED, "interrupted")


def test_stale_pid_file_never_shows_run_as_running(world):
    run = world.begin(held=True)
    kill(run)
    assert run.training_pid.exists()
    run.training_pid.write_text(f"{os.getpid()}\n")  # the kernel gave the number to another process meanwhile
    before = world.rows()["my-lora"]
    world.sh("rm outputs/my-lora/training.pid")
    assert before.status is Status.STOPPED
    assert world.rows()["my-lora"] == before


def refuses_a_second_trainer(world: GuideInstallation, run: RunPaths) -> None:
    """Assert that no way of starting leads to another trainer of this run."""
    for answer in (None, "resume", "replace"):
        with pytest.raises(FluxGymError):
            world.begin(run.slug, if_exists=answer)
    with pytest.raises(FluxGymError):
        resume(run, settings=world.settings)
    assert run.training_log.read_text().count("== attempt") == 1


def test_removed_training_pid_of_live_trainer_is_reported_and_starts_no_second(world, capsys):
    run = world.begin(held=True)
    pid = int(run.training_pid.read_text())
    world.sh("rm outputs/my-lora/training.pid")
    row = world.rows()["my-lora"]
    assert row.status is Status.STOPPED
    assert row.reason == f"training.pid was removed or changed by hand, but the trainer (PID {pid}) is still alive."
    assert "🔵 my-lora - Stopped\n   - Started: 20" in world.cli("sessions")
    refuses_a_second_trainer(world, run)
    assert main(["resume", "--outputs", str(world.outputs), "my-lora"]) == 2
    assert "is running; stop it first" in capsys.readouterr().err
    assert not run.training_pid.exists()
    world.release(run)
    assert world.rows()["my-lora"].status is Status.COMPLETED  # the training itself came to no harm


# -- State File Corrupted, Old Sessions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["", '{"lora_name": ', "null", "\0" * 40, "not json"])
def test_corrupted_state_has_its_own_row_and_leaves_others_unchanged(damage, world):
    world.begin()
    make_run(world.outputs, "other", status="stopped")
    (world.outputs / "my-lora" / "ui_state.json").write_text(damage)
    rows = world.rows()
    assert rows["my-lora"].status is Status.UNREADABLE
    assert "restore it from a backup, or delete it and start again" in rows["my-lora"].reason
    assert rows["other"].status is Status.STOPPED
    assert "⚠️ my-lora - Cannot be read" in world.cli("sessions")


def test_deleted_state_returns_only_with_new_start(world):
    run = world.begin()
    run.ui_state.write_text("{half")
    world.sh("cat outputs/my-lora/ui_state.json; rm outputs/my-lora/ui_state.json")
    assert world.rows() == {}
    with pytest.raises(NameTaken):
        world.begin()  # its model is still there, and is never overwritten unasked
    world.begin(if_exists="replace")
    assert world.rows()["my-lora"].status is Status.COMPLETED
    assert state_of(run)["run_id"]


def test_state_of_live_training_is_not_written_again(world):
    run = world.begin(held=True)
    world.sh("rm outputs/my-lora/ui_state.json")
    assert world.rows() == {}
    assert "No active training sessions found" in world.cli("sessions")
    refuses_a_second_trainer(world, run)
    world.release(run)
    assert read_exit(run).status == "completed"
    assert not run.ui_state.exists()
    assert run.lora.is_file()
    world.begin(if_exists="replace")
    assert list(world.rows()) == ["my-lora"]


def test_forgotten_sessions_leave_list_and_keep_their_models(world):
    for name in ("old-lora", "cat", "dog"):
        world.begin(name)
    world.sh("rm outputs/old-lora/ui_state.json")
    assert set(world.rows()) == {"cat", "dog"}
    world.sh('find outputs -name "ui_state.json" -delete')
    assert world.rows() == {}
    assert {path.name for path in world.outputs.glob("*/*.safetensors")} == {f"{name}.safetensors" for name in ("old-lora", "cat", "dog")}


# -- Sessions Not Showing ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def without_root():
    """Look on without the rights of root, which reads everything."""
    euid = os.geteuid()
    if euid == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(euid)


def test_unreadable_state_file_is_reported_until_its_permissions_are_restored(world, monkeypatch):
    world.begin()
    make_run(world.outputs, "other", status="stopped", timestamp=1.0)
    world.folder.chmod(0o755)
    monkeypatch.chdir(world.folder)  # the folders above are closed to others
    world.outputs = Path("outputs")
    assert world.sh("ls outputs/*/ui_state.json") == "outputs/my-lora/ui_state.json\noutputs/other/ui_state.json\n"
    world.sh("chmod 000 outputs/my-lora/ui_state.json")
    with without_root():
        rows = world.rows()
    assert rows["my-lora"].status is Status.UNREADABLE
    assert "check the file's permissions" in rows["my-lora"].reason
    assert rows["other"].status is Status.STOPPED
    world.sh("chmod 644 outputs/*/ui_state.json")
    with without_root():
        assert [(row.slug, row.status) for row in world.rows().values()] == [("my-lora", Status.COMPLETED), ("other", Status.STOPPED)]
