"""What the supervisor is told: the next attempt of the same run goes on from the newest checkpoint, in kohya's epoch where kohya trains."""

import json
import shutil
from dataclasses import replace

import pytest

from fluxgym.errors import StorageError
from fluxgym.runs import launch_spec
from fluxgym.runs.files import RESERVED_BYTES
from fluxgym.runs.launch_spec import (
    LaunchSpec,
    ran_kohya,
    read_launch_spec,
    read_stop_request,
    reserve_stop_request,
    write_launch_spec,
    write_stop_request,
)
from tests.fluxgym.trainers.kohya.test_states import fixture_folder  # noqa: F401 - a fixture
from tests.support.fake_kohya import write_checkout
from tests.support.runs import make_run

ORDER = LaunchSpec(run_id="x", attempt=1, argv=["train", "--seed", "1"], cwd="/nowhere", foreign=True)


def test_a_restart_tells_kohyas_trainer_its_epoch(folder, tmp_path):
    first = replace(ORDER, cwd=str(write_checkout(tmp_path / "kohya")))
    second = first.again(folder)
    assert second.argv == ["train", "--seed", "1", "--resume", str(folder), "--initial_epoch", "2"]  # a state within the second
    later = shutil.copytree(folder, folder.with_name("cat-000006-state"))
    (later / "train_state.json").write_text(json.dumps({"current_epoch": 6, "current_step": 20}))
    third = second.again(later)
    assert third.argv == ["train", "--seed", "1", "--resume", str(later), "--initial_epoch", "7"]
    assert (third.attempt, third.foreign) == (3, True)
    assert first.again(None).argv == first.argv


@pytest.mark.parametrize("odd", [{"attempt": "1"}, {"attempt": None}, {"grace_s": "soon"}, {"grace_s": None}, {"more": 1}])
def test_a_damaged_wish_to_stop_is_none(tmp_path, odd):
    run = make_run(tmp_path)
    write_stop_request(run, "x", 1, 30.0)
    assert read_stop_request(run, "x", 1).grace_s == 30
    run.stop.write_text(json.dumps(json.loads(run.stop.read_text()) | odd))
    assert read_stop_request(run, "x", 1) is None


def test_our_own_trainer_knows_its_epoch(folder):
    assert replace(ORDER, foreign=False).again(folder).argv == ["train", "--seed", "1", "--resume", str(folder)]


def test_an_order_of_an_earlier_version_is_ours(tmp_path):
    run = make_run(tmp_path)
    assert not ran_kohya(run)
    write_launch_spec(run, ORDER)
    assert ran_kohya(run)
    data = json.loads(run.launch.read_text())
    del data["foreign"]
    run.launch.write_text(json.dumps(data))
    assert read_launch_spec(run).foreign is False


@pytest.fixture(name="full_disk")
def fixture_full_disk(monkeypatch):
    def refuse(path, value):
        raise StorageError(f"{path} could not be written: no space left on device.")

    return lambda: monkeypatch.setattr(launch_spec, "write_json", refuse)


def test_on_a_full_disk_a_wish_to_stop_goes_into_the_reserved_room(tmp_path, full_disk):
    run = make_run(tmp_path)
    reserve_stop_request(run)
    assert read_stop_request(run, "x", 1) is None
    write_stop_request(run, "x", 1, 60.0)
    full_disk()
    write_stop_request(run, "x", 1, 0.0)  # Stop now, after Stop
    assert read_stop_request(run, "x", 1).grace_s == 0
    assert run.stop_reserve.stat().st_size == RESERVED_BYTES


def test_a_wish_that_could_be_written_replaces_the_one_in_the_reserved_room(tmp_path, full_disk, monkeypatch):
    run = make_run(tmp_path)
    reserve_stop_request(run)
    with monkeypatch.context() as full:
        full.setattr(launch_spec, "write_json", lambda path, _: (_ for _ in ()).throw(StorageError(f"{path}: full")))
        write_stop_request(run, "x", 1, 60.0)
    write_stop_request(run, "x", 1, 0.0)
    assert read_stop_request(run, "x", 1).grace_s == 0


def test_a_new_start_forgets_every_wish_to_stop(tmp_path, full_disk):
    run = make_run(tmp_path)
    write_stop_request(run, "x", 1, 60.0)
    reserve_stop_request(run)
    write_launch_spec(run, ORDER)
    assert not run.stop.exists()
    assert not run.stop_reserve.exists()


def test_without_reserved_room_a_full_disk_is_told(tmp_path, full_disk):
    run = make_run(tmp_path)
    full_disk()
    with pytest.raises(StorageError, match="stop"):
        write_stop_request(run, "x", 1, 60.0)
