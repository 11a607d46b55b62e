"""The queue of the local engine: runs that do not wait any more, that have lost their tickets, or that another dispatcher serves."""

import shutil
from pathlib import Path

import pytest

from fluxgym.engines.base import LOST_POSITION
from fluxgym.engines.dispatcher_process import DISPATCHER_ENDED, DispatcherProcess
from fluxgym.engines.registry import status_of
from fluxgym.engines.tickets import Tickets
from fluxgym.engines.waiting_reasons import WAITS_FOR_APP
from fluxgym.engines.waiting_runs import WaitingRuns
from fluxgym.runs.launch_spec import DeviceRequest, LaunchSpec, write_launch_spec
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.state import read_state, update_state
from fluxgym.sessions.control import cancel_waiting
from tests.support.identities import OWN, identity
from tests.support.opened_files import opened_files
from tests.support.runs import dead_process, make_run, record_processes, write_ticket

CPU = DeviceRequest(kind="cpu")


def test_reconcile_removes_tickets_of_runs_that_do_not_wait(engine, run):
    write_launch_spec(run, LaunchSpec(run_id="id-cat", attempt=1, trainer_dir="/"))
    Tickets(OutputsPaths(run.folder.parent)).join(run, "id-cat", ["cpu"])
    run.ui_state.write_text(run.ui_state.read_text().replace("starting", "stopped"))
    assert engine.queue.slugs() == ("cat",)
    assert engine.queue.reconcile() == ()
    assert engine.queue.slugs() == ()


def test_reconcile_keeps_ticket_of_run_whose_state_cannot_be_read(engine, run):
    write_launch_spec(run, LaunchSpec(run_id="id-cat", attempt=1, trainer_dir="/"))
    Tickets(OutputsPaths(run.folder.parent)).join(run, "id-cat", ["cpu"])
    run.ui_state.write_text("{")
    record_processes(run, "id-cat", 1, identity(OWN), None)
    assert engine.queue.reconcile() == ()
    assert engine.queue.slugs() == ("cat",)


@pytest.mark.parametrize("damage", ["", "{", None], ids=["empty", "torn", "missing"])
def test_reconcile_ends_waiting_run_whose_launch_spec_is_damaged(engine, tmp_path, caplog, damage):
    run = make_run(tmp_path, status="queued", reason="Waiting for the CPU; it is next.")
    record_processes(run, "id-cat", 1, dead_process("id-cat"), None)
    Tickets(OutputsPaths(tmp_path)).join(run, "id-cat", ["cpu"])
    if damage is not None:
        run.launch.write_text(damage)
    assert engine.queue.reconcile() == ()
    end = status_of(run, read_state(run))
    assert (end.status, end.reason_code) == ("failed", "launch")
    assert "launch.json" in end.reason
    assert "tart it again" in end.reason
    assert engine.queue.slugs() == ()
    assert [(record.levelname, "launch.json" in record.getMessage()) for record in caplog.records] == [("WARNING", True)]


def test_reconcile_does_not_remove_ticket_of_another_start(engine, tmp_path):
    run = make_run(tmp_path, status="queued", run_id="of another start")
    Tickets(OutputsPaths(tmp_path)).join(run, "id-cat", ["cpu"])
    run.launch.write_text("{")
    assert engine.queue.reconcile() == ()
    assert engine.queue.slugs() == ()
    assert read_state(run)["status"] == "queued"


def test_reconcile_continues_after_error_at_one_run(engine, tmp_path, monkeypatch, caplog):
    for name in ("odd", "cat"):
        Tickets(OutputsPaths(tmp_path)).join(make_run(tmp_path, name), f"id-{name}", ["cpu"])

    def drop(self, waiting, drop=WaitingRuns.drop):
        return {}[[]] if waiting.run.slug == "odd" else drop(self, waiting)

    monkeypatch.setattr(WaitingRuns, "drop", drop)
    monkeypatch.setattr(DispatcherProcess, "ensure", lambda self: 1 / 0)
    assert engine.queue.reconcile() == ()
    assert engine.queue.slugs() == ("odd",)
    assert "could not be continued: ZeroDivisionError: division by zero" in caplog.text


def queue_without_ticket(outputs, name="cat", **spec):
    """Make a run that waited and has lost its ticket."""
    run = make_run(outputs, name, status="queued", reason="Waiting for the CPU; it is next.")
    argv = ("python", f"--output_dir={run.folder}")
    write_launch_spec(run, LaunchSpec(**{"run_id": f"id-{name}", "attempt": 1, "trainer_dir": "/", "argv": argv, "devices": CPU, **spec}))
    record_processes(run, f"id-{name}", 1, dead_process(f"id-{name}"), None)
    return run


@pytest.fixture(name="ensured")
def fixture_ensured(monkeypatch):
    """The calls that would have started a dispatcher."""
    calls = []
    monkeypatch.setattr(DispatcherProcess, "ensure", lambda self: calls.append(self))
    return calls


@pytest.mark.parametrize("damage", [None, "{", '{"slug": "cat", "run_id": "id-cat"}'])
def test_run_without_ticket_is_reported_and_rejoins_queue(engine, tmp_path, ensured, damage):
    run, other = queue_without_ticket(tmp_path), make_run(tmp_path, "dog", status="queued")
    write_launch_spec(other, LaunchSpec(run_id="id-dog", attempt=1, trainer_dir="/", devices=CPU))
    Tickets(OutputsPaths(tmp_path)).join(other, "id-dog", ["cpu"])
    if damage is not None:
        run.ticket.write_text(damage)
    shown = status_of(run, read_state(run))
    assert (shown.status, shown.reason) == ("queued", LOST_POSITION)
    assert "cat" in engine.queue.reconcile()
    assert engine.queue.slugs() == ("dog", "cat")
    assert status_of(run, read_state(run)).reason == DISPATCHER_ENDED
    assert len(ensured) == 1


def test_runs_without_ticket_rejoin_queue_in_order_of_their_starts(engine, tmp_path, ensured):
    queued_at = {"ant": 3.0, "bee": 1.0, "cat": 2.0, "dog": 4.0}
    for name, at in queued_at.items():
        run = queue_without_ticket(tmp_path, name)
        record_processes(run, f"id-{name}", 1, dead_process(f"id-{name}"), None, started_at=at)
    assert engine.queue.without_position() == ("bee", "cat", "ant", "dog")
    assert engine.queue.reconcile() == ("bee", "cat", "ant", "dog")
    assert engine.queue.slugs() == ("bee", "cat", "ant", "dog")
    assert engine.queue.without_position() == ()
    assert len(ensured) == 1


def test_queue_that_is_kept_reads_states_of_new_changed_and_queued_runs_only(engine, tmp_path, ensured):
    for name in ("ant", "bee"):
        make_run(tmp_path, name, status="completed", timestamp=1)
    damaged = make_run(tmp_path, "cat", status="completed", timestamp=1)
    damaged.ui_state.write_text("{")

    def read_states():
        with opened_files() as names:
            found = engine.queue.without_position()
        return found, sorted(Path(name).parent.name for name in names if name.endswith("ui_state.json"))

    assert read_states() == ((), ["ant", "bee", "cat"])
    assert read_states() == ((), ["cat"])
    shutil.rmtree(tmp_path / "bee")
    run = queue_without_ticket(tmp_path, "bee")
    record_processes(run, "id-bee", 1, dead_process("id-bee"), None, started_at=1.0)
    assert read_states() == (("bee",), ["bee", "cat"])
    assert read_states() == (("bee",), ["bee", "cat"])


def moved(run):
    run.folder.rename(run.folder.with_name("renamed"))
    return RunPaths(run.folder.with_name("renamed"))


def copied(run):
    shutil.copytree(run.folder, run.folder.with_name("copy"))
    run.ticket.parent.mkdir(parents=True, exist_ok=True)
    write_ticket(run)
    return RunPaths(run.folder.with_name("copy"))


def trained(run):
    record_processes(run, "id-cat", 1, dead_process("id-cat"), dead_process("id-cat"))
    return run


def unsigned(run):
    run.launch.write_text(run.launch.read_text().replace('"signature"', '"signature of another"'))
    return run


@pytest.mark.parametrize("change", [moved, copied, trained, unsigned])
def test_only_unchanged_run_that_waited_here_rejoins_queue(engine, tmp_path, ensured, change):
    run = change(queue_without_ticket(tmp_path))
    assert run.slug not in engine.queue.reconcile()
    assert not run.ticket.exists()
    shown = status_of(run, read_state(run))
    assert shown.status != "queued"
    assert ("lost its position" in shown.reason) == (change in (moved, unsigned))


@pytest.mark.parametrize("damage", [None, "{"])
def test_run_that_has_lost_its_ticket_is_canceled(tmp_path, damage):
    run = queue_without_ticket(tmp_path)
    if damage is not None:
        run.ticket.parent.mkdir(parents=True)
        run.ticket.write_text(damage)
    cancel_waiting(run)
    assert (status_of(run, read_state(run)).reason_code, run.ticket.exists()) == ("user", False)


def test_run_of_another_installation_is_not_reported_as_next(engine, tmp_path):
    run = queue_without_ticket(tmp_path)
    Tickets(OutputsPaths(tmp_path)).join(run, "id-cat", ["cpu"])
    DispatcherProcess(OutputsPaths(tmp_path)).record()
    assert engine.queue.reasons() == {"cat": "Waiting for the CPU; it is next."}
    update_state(run, {"reason": WAITS_FOR_APP})  # as that dispatcher sees it
    assert engine.queue.reasons() == {"cat": WAITS_FOR_APP}
    assert status_of(run, read_state(run)).reason == WAITS_FOR_APP
