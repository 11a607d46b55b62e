"""The local engine: one supervisor process per running run on this machine, and a queue in front of the machine's devices."""

import logging
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from fluxgym.contract.codes import LIVE
from fluxgym.engines.base import Mode
from fluxgym.engines.devices import LocalDevices
from fluxgym.engines.local_queue import LocalQueue
from fluxgym.engines.process_state import state_of_record
from fluxgym.engines.spawn import StartedSupervisor, start_supervisor
from fluxgym.errors import LaunchError, UnreadableState
from fluxgym.runs.launch_spec import LaunchSpec, read_launch_spec, write_stop_request
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.process_identity import (
    PROC,
    ProcessRecord,
    is_alive,
    read_record,
    signal_recorded,
)
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.runs.state import read_state
from fluxgym.runs.status import EXECUTING, EngineState, derive_status
from fluxgym.trainers.script import SCRIPT

START_POLL_S = 0.05
PROGRAMS = ("fluxgym.supervisor", "fluxgym.launch.supervisor", SCRIPT)  # the second is the supervisor of earlier versions
log = logging.getLogger(__name__)


class LocalEngine:
    """Runs of one outputs folder on this machine. State is in files and in /proc, so any process may create one."""

    def __init__(self, outputs: OutputsPaths) -> None:
        self.queue, self.devices = LocalQueue(outputs), LocalDevices()

    def submit(self, run: RunPaths, spec: LaunchSpec, mode: Mode = Mode.TRAIN) -> None:
        """Start a supervisor, unless one is alive for this attempt, and return once it has recorded itself or has ended.

        Raises:
            LaunchError: If it does neither.
        """
        if not _is_supervised(run, spec):
            _wait_until_recorded(run, spec, start_supervisor(run, mode))

    def cancel(self, run: RunPaths, *, grace_s: float) -> bool:
        """Request a stop and return at once; False if nothing of the run is alive or waiting."""
        spec, record = read_launch_spec(run), read_record(run)
        is_executing = self._state(run).phase in EXECUTING
        latest = record if record is not None and is_executing else spec  # so that a run with a damaged launch.json can be stopped
        if latest is None or not (is_executing or self._is_declared_live(run)):
            return False
        write_stop_request(run, latest.run_id, latest.attempt, grace_s)
        if record is not None and record.supervisor is not None and is_alive(record.supervisor):
            signal_recorded(record.supervisor, signal.SIGCONT)
        elif spec is not None and record is not None and is_alive(record.trainer):
            start_supervisor(run, Mode.STOP_ONLY)
        else:
            self.queue.cancel(run)
        return True

    def observe(self, snapshots: Sequence[RunSnapshot]) -> Mapping[str, EngineState]:
        """Return the state of each run's processes, by slug."""
        return {snapshot.run.slug: self.queue.observe(snapshot) for snapshot in snapshots}

    def orphans(self, runs: Sequence[RunPaths]) -> Mapping[str, str]:
        """Return a supervisor or trainer that was started for a run's folder, from one pass over all processes."""
        folders = {os.fsencode(run.folder): run.slug for run in runs}
        found: dict[str, str] = {}
        for entry in os.scandir(PROC):
            if entry.name.isdigit():
                found |= {folders[word]: f"PID {entry.name}" for word in _command_line(Path(entry.path)) if word in folders}
        return found

    def _state(self, run: RunPaths) -> EngineState:
        return state_of_record(read_record(run), time.time())

    def _is_declared_live(self, run: RunPaths) -> bool:
        """Return True if a run waits, is about to start, or executes on another host, where its supervisor reads the stop request."""
        try:
            snapshot = RunSnapshot(run, read_state(run))
        except UnreadableState:
            return False
        return derive_status(snapshot, self.queue.observe(snapshot)).status in LIVE


def _is_supervised(run: RunPaths, spec: LaunchSpec) -> bool:
    """Return True if a supervisor is alive for this attempt."""
    record = read_record(run)
    return record is not None and is_alive(record.supervisor) and _is_of(record, spec)


def _wait_until_recorded(run: RunPaths, spec: LaunchSpec, supervisor: StartedSupervisor) -> None:
    process = supervisor.process
    while not supervisor.is_late:
        if _has_recorded_itself(run, spec, process.pid):
            return
        if process.poll() is not None:
            if process.returncode == 0 or _is_supervised(run, spec):  # by the supervisor that another process started for it
                return
            raise LaunchError(f"The supervisor did not start: {supervisor.error()}")
        time.sleep(START_POLL_S)
    raise LaunchError(f"The supervisor {supervisor.kill()}, so it was ended. The machine may be overloaded; try again.")


def _has_recorded_itself(run: RunPaths, spec: LaunchSpec, pid: int) -> bool:
    record = read_record(run)
    return record is not None and record.supervisor is not None and record.supervisor.pid == pid and _is_of(record, spec)


def _is_of(record: ProcessRecord, spec: LaunchSpec) -> bool:
    return (record.run_id, record.attempt) == (spec.run_id, spec.attempt)


def _command_line(process: Path) -> list[bytes]:
    """Return the words of a supervisor's or trainer's command line, [] for any other process."""
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return []
    return words if any(Path(os.fsdecode(word)).name in PROGRAMS for word in words) else []
