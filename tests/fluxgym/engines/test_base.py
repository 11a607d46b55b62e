"""The contract of an engine, tested with each engine of the registry; what an engine does in its own way is tested beside it."""

import time

import pytest

from fluxgym.contract.codes import Status
from fluxgym.engines import devices
from fluxgym.engines.base import Engine
from fluxgym.engines.registry import ENGINES
from fluxgym.errors import LaunchError, SessionError
from fluxgym.runs.launch_spec import DeviceRequest, LaunchSpec, write_launch_spec
from fluxgym.runs.paths import OutputsPaths
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.runs.state import read_state
from fluxgym.runs.status import EnginePhase
from tests.support.runs import make_run


@pytest.fixture(name="engine", params=ENGINES)
def fixture_engine(request, tmp_path) -> Engine:
    return ENGINES[request.param](OutputsPaths(tmp_path))


@pytest.fixture(name="run")
def fixture_run(tmp_path):
    return make_run(tmp_path)


@pytest.fixture(autouse=True)
def fixture_two_gpus(tmp_path_factory, monkeypatch):
    """Give this machine two GPUs of its own locks."""
    folder = tmp_path_factory.mktemp("gpus")
    for number in range(2):
        (folder / str(number)).mkdir()
    monkeypatch.setattr(devices, "GPU_SIGNS", (folder,))
    monkeypatch.setenv("FLUXGYM_LOCKS", str(tmp_path_factory.mktemp("locks")))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def spec_of(slug, **options):
    """Return the launch spec of a run that needs no device, or those of `options`."""
    return LaunchSpec(run_id=f"id-{slug}", attempt=1, trainer_dir="/", **options)


def files_of(folder):
    """Return every file below a folder with its time of change."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_runs_that_were_never_submitted_were_removed_and_observing_writes_nothing(engine, run, tmp_path):
    snapshots = [RunSnapshot(run, {}), RunSnapshot(make_run(tmp_path, "dog"), {})]
    before = files_of(tmp_path)
    assert {slug: state.phase for slug, state in engine.observe(snapshots).items()} == {"cat": EnginePhase.GONE, "dog": EnginePhase.GONE}
    assert files_of(tmp_path) == before


def test_run_without_processes_has_no_orphan(engine, run):
    assert engine.orphans([run]) == {}


def test_supervisor_that_cannot_start_is_launch_error(engine, run):
    with pytest.raises(LaunchError):  # there is no launch.json
        engine.submit(run, spec_of("cat"))
    assert engine.observe([RunSnapshot(run, {})])["cat"].phase is EnginePhase.GONE


def test_nothing_is_canceled_of_run_that_has_ended(engine, tmp_path):
    run = make_run(tmp_path, "old", status=Status.STOPPED)
    write_launch_spec(run, spec_of("old"))
    assert not engine.cancel(run, grace_s=1.0)
    assert not run.stop.exists()


def test_run_that_does_not_wait_has_no_position(engine, run):
    assert (engine.queue.slugs(), engine.queue.waiting_since(run), engine.queue.reconcile()) == ((), None, ())
    with pytest.raises(SessionError):
        engine.queue.move(run, 1)


def test_free_device_is_acquired_at_once(engine, run):
    reasons = []
    lease = engine.queue.acquire(run, engine.devices.assign(spec_of("cat"), None), is_canceled=lambda: False, waiting=reasons.append)
    assert lease is not None
    assert (reasons, engine.queue.slugs()) == ([], ())
    lease.release()


def test_canceled_run_acquires_nothing(engine, run):
    spec = spec_of("cat", devices=DeviceRequest(kind="cpu"))
    assert engine.queue.acquire(run, spec, is_canceled=lambda: True, waiting=lambda reason: None) is None
    assert engine.queue.slugs() == ()


def test_run_is_left_waiting_for_device_in_use_until_it_is_canceled(engine, run, tmp_path):
    other, reasons = make_run(tmp_path, "dog"), []
    lease = engine.queue.acquire(run, engine.devices.assign(spec_of("cat"), "1"), is_canceled=lambda: False, waiting=reasons.append)
    spec = engine.devices.assign(spec_of("dog"), "1")
    write_launch_spec(other, spec)
    assert engine.queue.acquire(other, spec, is_canceled=lambda: False, waiting=reasons.append) is None
    assert engine.queue.slugs() == ("dog",)
    assert engine.queue.waiting_since(other) == pytest.approx(time.time(), abs=30)
    assert "cat" in reasons[0]
    assert engine.observe([RunSnapshot(other, read_state(other))])["dog"].phase is EnginePhase.WAITING
    assert engine.cancel(other, grace_s=1.0)
    assert read_state(other)["status"] == Status.STOPPED
    lease.release()
    assert (engine.queue.slugs(), engine.queue.waiting_since(other)) == ((), None)


def test_run_without_choice_may_take_any_device(engine):
    spec = engine.devices.assign(spec_of("cat"), None)
    assert spec.devices.any_free
    assert spec.devices.names == engine.devices.names()
    assert engine.devices.chosen_gpus(spec) is None


@pytest.mark.parametrize(("gpus", "chosen"), [("1", "1"), ("0,1", "0,1"), ("7", None)])
def test_gpus_that_user_named_are_known_while_engine_has_them(engine, gpus, chosen):
    spec = engine.devices.assign(spec_of("cat"), gpus)
    assert not spec.devices.any_free
    assert engine.devices.chosen_gpus(spec) == chosen
    assert engine.devices.num_gpus() == 2
