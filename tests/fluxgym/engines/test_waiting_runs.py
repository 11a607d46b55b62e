"""Who starts a waiting run, as its files say; who is ahead of it; what it waits for; and how its wait ends."""

import json
import os
import time
from dataclasses import replace

import pytest

from fluxgym.contract.codes import ReasonCode, Status
from fluxgym.engines import waiting_runs
from fluxgym.engines.devices import acquire_devices
from fluxgym.engines.tickets import Tickets
from fluxgym.engines.waiting_reasons import WaitingReasons
from fluxgym.engines.waiting_runs import Starter, WaitingRuns, with_those_ahead
from fluxgym.runs.exit_record import read_exit
from fluxgym.runs.launch_spec import DeviceRequest, LaunchSpec, write_launch_spec, write_stop_request
from fluxgym.runs.paths import OutputsPaths
from fluxgym.runs.process_identity import identify
from tests.support.runs import dead_process, make_run, record_processes, state_of

CPU = DeviceRequest(kind="cpu")
BOTH = DeviceRequest(kind="gpu", ids=("0", "1"))


def wait(outputs, name, *, devices=("cpu",), **state):
    """Make a run that waits in the queue."""
    run = make_run(outputs, name, **{"status": "queued", **state})
    write_launch_spec(run, LaunchSpec(run_id=f"id-{name}", attempt=1, trainer_dir="/", devices=CPU))
    record_processes(run, f"id-{name}", 1, dead_process(f"id-{name}"), None)
    Tickets(OutputsPaths(outputs)).join(run, f"id-{name}", devices)
    return run


@pytest.fixture(name="runs")
def fixture_runs(tmp_path):
    return WaitingRuns(OutputsPaths(tmp_path))


def me(name):
    return identify(os.getpid(), f"id-{name}")


def elsewhere(name):
    return replace(me(name), boot_id="another", host="pod")


def unsign(run):
    value = json.loads(run.launch.read_text())
    run.launch.write_text(json.dumps({key: item for key, item in value.items() if key != "signature"}))


def set_status(run, status):
    run.ui_state.write_text(json.dumps(state_of(run) | {"status": status}))


def of_another_start(run):
    run.ui_state.write_text(json.dumps(state_of(run) | {"run_id": "x"}))
    write_launch_spec(run, LaunchSpec(run_id="x", attempt=1, trainer_dir="/", devices=CPU))


CASES = {
    "waits": (lambda run: None, Starter.DISPATCHER),
    "its state could not be written": (lambda run: set_status(run, "starting"), Starter.DISPATCHER),
    "its state is damaged": (lambda run: run.ui_state.write_text("{"), Starter.DISPATCHER),
    "no record": (lambda run: run.process.unlink(), Starter.DISPATCHER),
    "a live supervisor": (lambda run: record_processes(run, "id-cat", 1, me("cat"), None), Starter.OWN_SUPERVISOR),
    "a live trainer": (lambda run: record_processes(run, "id-cat", 1, dead_process("x"), me("cat")), Starter.OWN_SUPERVISOR),
    "a live supervisor of another start": (lambda run: record_processes(run, "x", 1, me("x"), None), Starter.DISPATCHER),
    "not signed": (unsign, Starter.APP),
    "launch.json is missing": (lambda run: run.launch.unlink(), Starter.NOTHING),
    "launch.json is damaged": (lambda run: run.launch.write_text("{"), Starter.NOTHING),
    "stopped": (lambda run: set_status(run, "stopped"), Starter.ENDED),
    "an odd status": (lambda run: set_status(run, [{}]), Starter.ENDED),
    "running": (lambda run: set_status(run, "running"), Starter.ENDED),
    "another start has the folder": (of_another_start, Starter.ENDED),
    "moved away": (lambda run: run.folder.rename(run.folder.with_name("moved")), Starter.ENDED),
}


@pytest.mark.parametrize("case", CASES)
def test_starter_of_waiting_run_is_derived_from_its_files(case, runs, tmp_path):
    run = wait(tmp_path, "cat")
    runs.all()  # so that what is known is read again
    change, starter = CASES[case]
    change(run)
    (waiting,) = runs.all()
    assert waiting.starter is starter
    assert runs.of(run).starter is starter
    assert runs.drop(waiting) is (starter in (Starter.ENDED, Starter.NOTHING))
    assert len(runs.all()) == (starter not in (Starter.ENDED, Starter.NOTHING))


def test_unexpected_error_at_one_run_does_not_stop_others(runs, tmp_path, monkeypatch, caplog):
    wait(tmp_path, "odd"), wait(tmp_path, "cat")

    def read(run, ticket, read=waiting_runs.read_waiting_run):
        return {}[[]] if run.slug == "odd" else read(run, ticket)

    monkeypatch.setattr(waiting_runs, "read_waiting_run", read)
    assert [(waiting.run.slug, waiting.starter) for waiting in runs.all()] == [("odd", Starter.UNKNOWN), ("cat", Starter.DISPATCHER)]
    runs.all()
    assert [record.getMessage() for record in caplog.records] == [
        "odd, which waits in the queue, cannot be read: TypeError: unhashable type: 'list'"
    ]


def test_run_of_another_host_belongs_to_it_while_lease_is_renewed(runs, tmp_path):
    run = wait(tmp_path, "cat")
    record_processes(run, "id-cat", 1, elsewhere("cat"), None)
    (waiting,) = runs.all()
    assert (waiting.starter, waiting.other_host) == (Starter.DISPATCHER, "pod")
    run.lease.write_text("{}")
    (waiting,) = runs.all()
    assert (waiting.starter, waiting.is_ahead_of_others) == (Starter.OTHER_HOST, False)
    os.utime(run.lease, (time.time() - 300,) * 2)
    (waiting,) = runs.all()
    assert waiting.starter is Starter.DISPATCHER


def test_files_are_read_again_only_when_they_have_changed(runs, tmp_path):
    run = wait(tmp_path, "cat")
    (before,) = runs.all()
    (same,) = runs.all()
    assert same is before
    write_stop_request(run, "id-cat", 1, 5.0)
    (after,) = runs.all()
    assert (before.stop_requested, after.stop_requested) == (False, True)


def test_run_that_was_started_concurrently_is_not_ended(runs, tmp_path):
    run = wait(tmp_path, "cat")
    (waiting,) = runs.all()
    set_status(run, "running")
    runs.end(waiting, Status.STOPPED, ReasonCode.USER, "Canceled.")
    assert state_of(run)["status"] == "running"


def test_end_of_wait_is_recorded_although_dispatcher_described_run_concurrently(runs, tmp_path):
    run = wait(tmp_path, "cat", status="starting")
    (waiting,) = runs.all()
    set_status(run, "queued")
    runs.end(waiting, Status.STOPPED, ReasonCode.USER, "Canceled.")
    assert (state_of(run)["status"], run.ticket.exists()) == ("stopped", False)


def test_end_of_wait_is_recorded(runs, tmp_path):
    run = wait(tmp_path, "cat")
    run.stop_reserve.touch()
    (waiting,) = runs.all()
    runs.end(waiting, Status.STOPPED, ReasonCode.USER, "Canceled.")
    state, end = state_of(run), read_exit(run)
    assert (state["status"], state["reason_code"], state["reason"], "completed_at" in state) == ("stopped", "user", "Canceled.", False)
    assert (end.run_id, end.attempt, end.status, end.reason, end.ended_at > 0) == ("id-cat", 1, "stopped", "Canceled.", True)
    assert not run.stop_reserve.exists()
    assert runs.all() == []


def ahead(runs):
    return {waiting.run.slug: [other.name for other in others] for waiting, others in with_those_ahead(runs.all())}


def test_runs_ahead_want_same_device_and_are_started_on_this_host(runs, tmp_path):
    wait(tmp_path, "a", devices=["gpu-0"])
    for name in ("b", "c"):
        wait(tmp_path, name, devices=["gpu-0", "gpu-1"])
    unsigned = wait(tmp_path, "d", devices=["gpu-1"])
    unsign(unsigned)
    wait(tmp_path, "e", devices=["gpu-1"])
    assert ahead(runs) == {"a": [], "b": ["a"], "c": ["a", "b"], "d": ["b", "c"], "e": ["b", "c"]}


def reason(run, request, others=(), *, others_wait=False):
    return WaitingReasons(others_wait=others_wait).reason(run, request, others)


def test_wait_reason_equals_text_of_page(runs, tmp_path):
    run = wait(tmp_path, "a", lora_name="My Cat")
    for name in ("b", "c"):
        wait(tmp_path, name)
    wait(tmp_path, "user", lora_name="My Dog")
    others = runs.all()
    assert reason(run, CPU) == "Waiting for the CPU; it is next."
    assert reason(run, CPU, others_wait=True) == "Waiting for the CPU; it is next, but runs of another outputs folder wait too."
    lease = acquire_devices(CPU, tmp_path / "user")
    assert reason(run, CPU, others[:1]) == "Waiting for the CPU, which “My Dog” uses; “My Cat” is ahead of it."
    assert reason(run, CPU, others[:2]) == "Waiting for the CPU, which “My Dog” uses; “My Cat” and 1 more run are ahead of it."
    assert reason(run, CPU, others[:3]) == "Waiting for the CPU, which “My Dog” uses; “My Cat” and 2 more runs are ahead of it."
    assert reason(run, BOTH) == "Waiting for GPU 0 or GPU 1; it is next."
    assert reason(run, replace(BOTH, any_free=False)) == "Waiting for GPU 0 and GPU 1; it is next."
    lease.release()


def test_run_of_same_name_in_another_folder_is_reported_as_user(tmp_path):
    run = wait(tmp_path, "cat")
    make_run(tmp_path / "other", "cat", lora_name="Other Cat")
    lease = acquire_devices(CPU, tmp_path / "other" / "cat")
    assert reason(run, CPU) == "Waiting for the CPU, which “Other Cat” of another outputs folder uses; it is next."
    lease.release()
    acquire_devices(CPU, run.folder).release()
    assert reason(run, CPU) == "Waiting for the CPU; it is next."


def test_user_that_earlier_version_recorded_has_no_folder(tmp_path):
    run = wait(tmp_path, "cat")
    lease = acquire_devices(CPU, run.folder)
    (lock,) = (tmp_path / "locks").glob("device-*")
    lock.write_text('{"holder": "dog"}')
    assert reason(run, CPU) == "Waiting for the CPU, which “dog” uses; it is next."
    lease.release()
    assert reason(run, CPU) == "Waiting for the CPU; it is next."
