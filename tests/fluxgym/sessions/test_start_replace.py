"""Replace: the new run is complete before the old one moves, and after a failure of any step the old run is unchanged."""

from contextlib import contextmanager
from pathlib import Path

import pytest

from fluxgym.contract.files import UI_STATE
from fluxgym.errors import FluxGymError
from fluxgym.runs.paths import OutputsPaths
from fluxgym.runs.state import read_state
from fluxgym.sessions.control import wait_until_ended
from fluxgym.sessions.removed_runs import list_removed, put_back
from tests.support.small_installation import start_run, stop_and_wait


@pytest.fixture(name="old")
def fixture_old(world, images):
    """A completed run."""
    run = start_run(world, images)
    wait_until_ended(run)
    return run


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of a run, without the locks' times."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@contextmanager
def failing_rename(monkeypatch, is_it):
    """Let a rename whose source and target are the one in question fail, as on a volume that is full or was taken away."""
    real = Path.rename

    def rename(self, target):
        if is_it(self, Path(target)):
            raise OSError(5, "Input/output error")
        return real(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", rename)
        yield


STEPS = {
    "into the archive": lambda source, target: target.parent.name == "archive",
    "into place": lambda source, target: source.parent.name == "new",
}


@pytest.mark.parametrize("step", STEPS)
def test_failed_step_leaves_old_run_and_nothing_else(step, old, world, images, monkeypatch):
    before = contents(old.folder)
    with failing_rename(monkeypatch, STEPS[step]), pytest.raises(FluxGymError, match="Input/output error"):
        start_run(world, images, if_exists="replace")
    outputs = OutputsPaths(world.outputs)
    assert contents(old.folder) == before
    assert list_removed(outputs) == []
    assert not any(outputs.new.iterdir())
    assert not any(outputs.archive.glob("*"))


def test_failed_check_of_images_leaves_old_run(old, world, images, monkeypatch):
    before = contents(old.folder)
    monkeypatch.setattr("fluxgym.sessions.start.copy_for_training", lambda *_: 0)
    with pytest.raises(FluxGymError, match="images changed"):
        start_run(world, images, if_exists="replace")
    assert contents(old.folder) == before
    assert not OutputsPaths(world.outputs).archive.exists()


def test_state_that_keeps_its_name_in_archive_is_still_put_back(old, world, images, monkeypatch, caplog):
    with failing_rename(monkeypatch, lambda source, target: source.name == UI_STATE and "archive" in source.parts):
        new = start_run(world, images, if_exists="replace")
    stop_and_wait(new)
    (removed,) = list_removed(OutputsPaths(world.outputs))
    assert "keeps the name" in caplog.text
    assert read_state(put_back(OutputsPaths(world.outputs), removed.id))["status"] == "completed"


def test_run_that_cannot_be_put_back_is_reported_with_command_that_does_it(old, world, images, monkeypatch, caplog):
    def fails(source: Path, target: Path) -> bool:
        return source.parent.name in ("new", "archive")

    with failing_rename(monkeypatch, fails), pytest.raises(FluxGymError):
        start_run(world, images, if_exists="replace")
    (removed,) = list_removed(OutputsPaths(world.outputs))
    assert f"archive restore {removed.id}" in caplog.text
    assert read_state(put_back(OutputsPaths(world.outputs), removed.id))["status"] == "completed"
