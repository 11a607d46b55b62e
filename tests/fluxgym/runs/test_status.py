"""The shown status is derived: a stored `running` without its process is stopped, with the reason."""

import json
import os
import shutil
import time
from dataclasses import asdict, replace

import pytest

from fluxgym.contract.codes import LIVE, Status
from fluxgym.contract.lease import RunLease
from fluxgym.engines.registry import is_supervised, status_of
from fluxgym.runs.atomic_files import write_json
from fluxgym.runs.exit_record import ExitRecord, write_exit_record
from fluxgym.runs.launch_spec import LaunchSpec, write_launch_spec
from fluxgym.runs.log_tail import tail
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.process_identity import identify
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.runs.state import read_state
from fluxgym.runs.status import SYMBOLS, EnginePhase, EngineState, SessionStatus, derive_status
from fluxgym.sessions.listing import list_sessions
from tests.support.runs import make_run, record_processes, state_of, write_ticket


def record(run, **changes):
    """Record this very test's process as the trainer, changed as wished."""
    me = replace(identify(os.getpid(), "id-cat"), **changes)
    record_processes(run, "id-cat", 1, None, me)
    run.training_pid.write_text(f"{me.pid}\n")


def shown(run):
    return status_of(run, state_of(run))


def test_every_status_has_symbol():
    assert set(SYMBOLS) == set(Status)
    assert {SYMBOLS[status] for status in LIVE} == {"🟡", "🟢"}


def test_running_requires_recorded_trainer_process(tmp_path):
    run = make_run(tmp_path, status="running")
    record(run)
    assert shown(run).status is Status.RUNNING


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"start_ticks": 1}, "without an error message"), ({"boot_id": "x"}, "restarted"), ({"boot_id": "x", "host": "pod"}, "pod")],
)
def test_run_without_recorded_process_is_stopped_with_reason(changes, words, tmp_path):
    run = make_run(tmp_path, status="running")
    record(run, **changes)
    assert (shown(run).status, shown(run).reason_code) == (Status.STOPPED, "interrupted")
    assert words in shown(run).reason


def test_another_host_that_still_writes_is_running(tmp_path):
    run = make_run(tmp_path, status="running")
    record(run, boot_id="x", host="pod")
    run.progress.write_text("{}\n")
    assert shown(run).status is Status.RUNNING
    os.utime(run.progress, (time.time() - 300,) * 2)
    assert shown(run).status is Status.STOPPED


def test_run_that_waits_on_another_host_is_queued_there(tmp_path):
    run = make_run(tmp_path, status="queued")
    record(run, boot_id="x", host="pod")
    write_ticket(run)
    run.lease.write_text("{}")
    assert shown(run) == SessionStatus(Status.QUEUED, "", "It waits on another machine, pod.")
    os.utime(run.lease, (time.time() - 300,) * 2)
    assert "the process that starts waiting runs has ended" in shown(run).reason


def test_removed_training_pid_shows_run_as_stopped(tmp_path):
    run = make_run(tmp_path, status="running")
    record(run)
    run.training_pid.unlink()
    assert shown(run).status is Status.STOPPED
    assert "still alive" in shown(run).reason


def test_start_without_supervisor_is_shown_as_stopped_after_while(tmp_path):
    assert shown(make_run(tmp_path, "new")).status is Status.STARTING
    assert shown(make_run(tmp_path, "old", timestamp=1234567890.1)).status is Status.STOPPED


def test_state_of_three_keys_is_stopped_session(tmp_path):
    run = make_run(tmp_path, "cat", status=None, run_id=None)
    run.ui_state.write_text('{"lora_name": "fluffy-cats", "max_train_epochs": 16, "timestamp": 1706140800.0}')
    assert (shown(run).status, shown(run).reason) == (Status.STOPPED, "")


def test_exit_json_is_used_if_state_was_not_written(tmp_path):
    run = make_run(tmp_path, status="running")
    write_exit_record(run, ExitRecord(run_id="id-cat", attempt=1, status="failed", reason_code="nan", reason="The loss became nan."))
    assert (shown(run).status, shown(run).reason_code) == (Status.FAILED, "nan")


def stopped_before(run, attempt=1):
    """Leave what a first attempt left that ended: its dead processes and its end."""
    me = replace(identify(os.getpid(), "id-cat"), start_ticks=1)
    record_processes(run, "id-cat", attempt, me, me)
    write_exit_record(run, ExitRecord(run_id="id-cat", attempt=attempt, status="stopped", reason_code="user", reason="Stopped by you."))


def test_resumed_run_is_starting_until_its_supervisor_has_recorded_itself(tmp_path):
    run = make_run(tmp_path, timestamp=1.0)  # long ago it was started first
    stopped_before(run)
    write_launch_spec(run, LaunchSpec(run_id="id-cat", attempt=1, trainer_dir="/"))
    assert (shown(run).status, shown(run).reason_code) == (Status.STOPPED, "user")
    write_launch_spec(run, LaunchSpec(run_id="id-cat", attempt=2, trainer_dir="/"))
    assert shown(run) == SessionStatus(Status.STARTING)
    os.utime(run.launch, (time.time() - 300,) * 2)
    assert (shown(run).status, shown(run).reason_code) == (Status.STOPPED, "interrupted")
    assert "did not start" in shown(run).reason
    stopped_before(run, attempt=2)
    assert shown(run).reason_code == "user"


@pytest.mark.parametrize("damaged", ["{", "[]", '{"attempt": "2"}', '{"attempt": null}'])
def test_damaged_launch_json_keeps_recorded_outcome(tmp_path, damaged):
    run = make_run(tmp_path, timestamp=1.0)
    stopped_before(run)
    run.launch.write_text(damaged)
    assert (shown(run).status, shown(run).reason_code) == (Status.STOPPED, "user")


def test_unknown_status_is_stopped(tmp_path):
    assert shown(make_run(tmp_path, status="splendid")).status is Status.STOPPED


def test_monitoring_requires_recorded_process_of_monitor_pid(tmp_path):
    run = make_run(tmp_path)
    me = identify(os.getpid(), "id-cat")
    record_processes(run, "id-cat", 1, me, None)
    assert not is_supervised(run)
    run.monitor_pid.write_text(str(me.pid))
    assert is_supervised(run)
    record_processes(run, "id-cat", 1, replace(me, start_ticks=1), None)
    assert not is_supervised(run)


def test_future_timestamp_is_not_heartbeat(tmp_path):
    run = make_run(tmp_path, status="running", timestamp=time.time() + 86_400)
    assert status_of(run, read_state(run)).status is Status.STOPPED
    elsewhere = replace(identify(os.getpid(), "id-cat"), boot_id="another", host="another")
    record_processes(run, "id-cat", 1, elsewhere, elsewhere)
    run.progress.touch()
    assert status_of(run, read_state(run)).status is Status.RUNNING
    os.utime(run.progress, (time.time() + 86_400,) * 2)
    assert status_of(run, read_state(run)).status is Status.STOPPED


def test_done_phase_counts_only_for_current_attempt(tmp_path):
    run = make_run(tmp_path, status="running", timestamp=1.0)
    dead = replace(identify(os.getpid(), "id-cat"), start_ticks=1)
    run.progress.write_text('{"phase": "done", "step": 4, "attempt": 1}\n')
    run.lora.write_bytes(b"model")
    record_processes(run, "id-cat", 1, dead, dead)
    assert "not checked" in status_of(run, read_state(run)).reason
    record_processes(run, "id-cat", 2, dead, dead)  # a resume that was killed before it reported anything
    assert "not checked" not in status_of(run, read_state(run)).reason


@pytest.mark.parametrize("name", ["ui_state.json", "training.pid", "monitor.pid", "progress.jsonl", "training.log", "monitor.log"])
def test_pipe_at_path_of_file_blocks_no_reader(name, tmp_path):
    run = make_run(tmp_path, status="stopped")
    (run.folder / name).unlink(missing_ok=True)
    os.mkfifo(run.folder / name)
    list_sessions(tmp_path)
    is_supervised(run)
    assert tail(run.folder / name) == []


NOW = 1_000_000.0


def derived(tmp_path, phase, *, stored="running", reason="", node="", prepare=lambda run: None):
    """Derive a status without any process: from files that `prepare` writes and a given engine state."""
    run = make_run(tmp_path, status=stored, timestamp=NOW - 1000)
    prepare(run)
    engine_state = EngineState(phase=phase, reason=reason, node=node, observed_at=NOW)
    return derive_status(RunSnapshot(run, state_of(run)), engine_state)


@pytest.mark.parametrize(
    ("phase", "stored", "status"),
    [
        (EnginePhase.PENDING, "queued", Status.QUEUED),
        (EnginePhase.PENDING, "starting", Status.STARTING),
        (EnginePhase.PENDING, "running", Status.STARTING),
        (EnginePhase.PENDING, "stopped", Status.STARTING),
        (EnginePhase.FINISHING, "running", Status.RUNNING),
        (EnginePhase.FINISHING, "stopped", Status.RUNNING),
        (EnginePhase.GONE, "completed", Status.COMPLETED),
        (EnginePhase.GONE, "failed", Status.FAILED),
        (EnginePhase.GONE, "running", Status.STOPPED),
        (EnginePhase.GONE, "queued", Status.STOPPED),
        (EnginePhase.UNREACHABLE, "completed", Status.COMPLETED),
    ],
)
def test_status_follows_from_engines_phase_and_stored_status(tmp_path, phase, stored, status):
    assert derived(tmp_path, phase, stored=stored).status is status


def test_frozen_supervisor_makes_finishing_run_stopped(tmp_path):
    found = derived(tmp_path, EnginePhase.FINISHING, reason="Its supervisor is frozen.")
    assert found == SessionStatus(Status.STOPPED, "unknown", "Its supervisor is frozen.")


def test_reason_of_engine_is_shown_for_run_that_was_removed(tmp_path):
    record = replace(identify(os.getpid(), "id-cat"), start_ticks=1)
    found = derived(
        tmp_path, EnginePhase.GONE, reason="The machine restarted.", prepare=lambda run: record_processes(run, "id-cat", 1, record, record)
    )
    assert found == SessionStatus(Status.STOPPED, "interrupted", "The machine restarted.")


@pytest.mark.parametrize(
    ("age_s", "status"), [(0, Status.RUNNING), (119, Status.RUNNING), (121, Status.STOPPED), (-86_400, Status.STOPPED)]
)
def test_run_on_another_host_is_running_while_it_writes(tmp_path, age_s, status):
    record = replace(identify(os.getpid(), "id-cat"), boot_id="x", host="pod")

    def prepare(run):
        record_processes(run, "id-cat", 1, record, record)
        run.progress.touch()
        os.utime(run.progress, (NOW - age_s,) * 2)

    found = derived(tmp_path, EnginePhase.UNREACHABLE, node="pod", prepare=prepare)
    assert found.status is status
    assert "another machine, pod" in found.reason


@pytest.mark.parametrize("stored", ["queued", "starting"])
def test_run_with_ticket_is_queued_without_process(tmp_path, stored):
    found = derived(tmp_path, EnginePhase.WAITING, stored=stored, reason="Nothing starts it.", prepare=write_ticket)
    assert found == SessionStatus(Status.QUEUED, "", "Nothing starts it.")


@pytest.mark.parametrize(
    ("ticket", "stored"), [({"run_id": "of another start"}, "queued"), ([], "queued"), ({"run_id": "id-cat"}, "running")]
)
def test_ticket_of_another_start_or_damaged_one_does_not_count(tmp_path, ticket, stored):
    found = derived(tmp_path, EnginePhase.GONE, stored=stored, prepare=lambda run: write_json(run.ticket, ticket))
    assert found.status is Status.STOPPED


@pytest.mark.parametrize("timestamp", [1.0, 0.0, 9e9])
@pytest.mark.parametrize("stored", ["starting", "queued", "running"])
def test_a_run_that_is_live_by_its_state_alone_is_stopped_with_its_next_step(tmp_path, stored, timestamp):
    run = make_run(tmp_path, status=stored, timestamp=timestamp)
    found = shown(run)
    assert (found.status, found.reason_code) == (Status.STOPPED, "interrupted")
    assert "resume it if it has a checkpoint, otherwise start it again" in found.reason


@pytest.mark.parametrize("stored", ["starting", "running"])
def test_copied_folder_of_a_run_that_was_just_started_is_stopped(tmp_path, stored):
    run = make_run(tmp_path, status=stored)
    write_launch_spec(run, LaunchSpec(run_id="id-cat", attempt=1, trainer_dir="/", argv=("train", str(run.folder))))
    assert shown(run).status is Status.STARTING
    copy = RunPaths(tmp_path / "kopie")
    shutil.copytree(run.folder, copy.folder)
    assert (shown(copy).status, shown(copy).reason_code) == (Status.STOPPED, "interrupted")


@pytest.mark.parametrize("source", ["lease", "progress"])
def test_copied_folder_of_another_host_is_told_from_its_files_not_from_the_time_of_the_copy(tmp_path, source):
    record = replace(identify(os.getpid(), "id-cat"), boot_id="x", host="pod")

    def write(age_s):
        def prepare(run):
            record_processes(run, "id-cat", 1, record, record)
            run.training_log.touch()
            os.utime(run.training_log, (NOW, NOW))
            if source == "lease":
                write_json(run.lease, asdict(RunLease(host="pod", number=1, renewed_at=NOW - age_s, holder="x")))
                os.utime(run.lease, (NOW, NOW))
            else:
                run.progress.write_text(json.dumps({"time": NOW - age_s, "phase": "training", "step": 1}) + "\n")
                os.utime(run.progress, (NOW, NOW))

        return prepare

    for age_s, status in ((5, Status.RUNNING), (600, Status.STOPPED)):
        folder = tmp_path / str(age_s)
        assert derived(folder, EnginePhase.UNREACHABLE, node="pod", prepare=write(age_s)).status is status
