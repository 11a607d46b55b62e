"""The local engine: one supervisor process per run on this machine, and a queue in front of the machine's devices."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from fluxgym.contract.codes import LIVE, ReasonCode, Status
from fluxgym.contract.regular_files import append_regular
from fluxgym.engines.base import CANCELED_REASON, Mode
from fluxgym.engines.device_queue import Queue, Ticket, waiting_reason
from fluxgym.engines.devices import DeviceLease, acquire_devices, are_there, device_request, devices_of, num_gpus
from fluxgym.errors import FluxGymError, LaunchError, NotReadableNow, UnreadableState
from fluxgym.runs.detached import start_detached
from fluxgym.runs.files import is_missing, storage_error, tail
from fluxgym.runs.gpus import GPU_NUMBERS, VISIBLE
from fluxgym.runs.launch_spec import LaunchSpec, read_launch_spec, read_own_launch_spec, write_stop_request
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.process_identity import (
    PROC,
    Liveness,
    ProcessIdentity,
    ProcessRecord,
    boot_id,
    init_started_at,
    is_alive,
    is_frozen,
    liveness_of,
    local_process,
    read_record,
    signal_process,
    signal_recorded,
)
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.runs.state import read_state, update_state
from fluxgym.runs.status import EXECUTING, SUPERVISOR_ENDED, EnginePhase, EngineState, derive_status
from fluxgym.trainers.script import SCRIPT

START_TIMEOUT_S = 30.0
START_POLL_S = 0.05
QUEUE_POLL_S = 1.0
NO_LAUNCH_SPEC = "It waited for its device, but its .run/launch.json is missing or damaged, so nothing could be started. Start it again."
PROGRAMS = ("fluxgym.supervisor", "fluxgym.launch.supervisor", SCRIPT)  # the second is the supervisor of earlier versions
log = logging.getLogger(__name__)


class LocalEngine:
    """Runs of one outputs folder on this machine. State is in files and in /proc, so any process may create one."""

    def __init__(self, outputs: OutputsPaths) -> None:
        self._outputs = outputs
        self._queue = Queue(outputs)

    def submit(self, run: RunPaths, spec: LaunchSpec, mode: Mode = Mode.TRAIN) -> None:
        """Start a supervisor, unless one is alive for this attempt, and return once it has recorded itself or has ended.

        Raises:
            LaunchError: If it does neither.
        """
        record = read_record(run)
        if record is not None and record.supervisor is not None and is_alive(record.supervisor) and _is_of(record, spec):
            return
        _wait_until_recorded(run, spec, _spawn(run, mode))

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
            _spawn(run, Mode.STOP_ONLY)
        elif run.ticket.exists():  # the supervisor of a waiting run has died
            self._cancel_waiting(run, latest.run_id)
        return True

    def _cancel_waiting(self, run: RunPaths, run_id: str) -> None:
        """Cancel a waiting run without a supervisor: by a new one, or right here if its launch.json may not be executed."""
        if (own := read_own_launch_spec(run)) is not None:
            self.submit(run, own)  # it reads the request and leaves the queue
            return
        self._queue.remove(run, run_id)
        update_state(
            run, {"status": Status.STOPPED, "reason_code": ReasonCode.USER, "reason": CANCELED_REASON, "completed_at": time.time()}
        )

    def abandoned(self) -> tuple[str, ...]:
        """Return the slugs of the waiting runs whose supervisors have died, the next first."""
        return tuple(ticket.slug for ticket in self._queue.tickets() if self._queue.is_abandoned(ticket))

    def waits_elsewhere(self) -> bool:
        """Return True if a run waits on another host, which may just have ended."""
        return any(self._queue.waits_elsewhere(ticket) for ticket in self._queue.tickets())

    def observe(self, snapshots: Sequence[RunSnapshot]) -> Mapping[str, EngineState]:
        """Return the state of each run's processes, by slug."""
        now = time.time()
        return {snapshot.run.slug: _state_of(snapshot.process_record, now) for snapshot in snapshots}

    def orphans(self, runs: Sequence[RunPaths]) -> Mapping[str, str]:
        """Return a supervisor or trainer that was started for a run's folder, from one pass over all processes."""
        folders = {os.fsencode(run.folder): run.slug for run in runs}
        found: dict[str, str] = {}
        for entry in os.scandir(PROC):
            if entry.name.isdigit():
                found |= {folders[word]: f"PID {entry.name}" for word in _command_line(Path(entry.path)) if word in folders}
        return found

    def reconcile(self) -> tuple[str, ...]:
        """Restart the supervisor of every waiting run whose supervisor has died; returns at once and never raises."""
        return tuple(ticket.slug for ticket in self._queue.tickets() if self._restart_supervisor(ticket))

    def move(self, run: RunPaths, position: int) -> None:
        """Move a waiting run to a position in the queue, 1 is next.

        Raises:
            SessionError: If it does not wait.
        """
        self._queue.move(run.slug, position)

    def waiting(self) -> tuple[str, ...]:
        """Return the slugs of the waiting runs, the next first."""
        return tuple(ticket.slug for ticket in self._queue.tickets())

    def waiting_reasons(self) -> Mapping[str, str]:
        """Return what each waiting run waits for now, the next run first; a run whose folder or launch spec is gone is left out."""
        reasons = {}
        for ticket in self._queue.tickets():
            run = self._outputs.run(ticket.slug)
            spec = None if is_missing(run.ui_state) else read_launch_spec(run)
            if spec is not None:
                active = self._queue.is_active(ticket)
                reasons[run.slug] = waiting_reason(run, spec.devices, self._queue.ahead_of(run)) if active else SUPERVISOR_ENDED
        return reasons

    def waiting_since(self, run: RunPaths) -> float | None:
        """Return when a run joined the queue, None if it does not wait."""
        ticket = self._queue.ticket(run)
        return None if ticket is None else float(ticket.since)

    def devices(self) -> tuple[str, ...]:
        """Return this machine's devices that runs may use."""
        return tuple(devices_of(None))

    def num_gpus(self) -> int:
        """Return the number of NVIDIA GPUs of this machine."""
        return num_gpus()

    def assign(self, spec: LaunchSpec, gpus: str | None) -> LaunchSpec:
        """Return a launch spec that requests the GPUs that a user named ("0,1"), else any free device."""
        return replace(spec, env={VISIBLE: gpus} if gpus else {}, devices=device_request(gpus))

    def chosen_gpus(self, spec: LaunchSpec) -> str | None:
        """Return the GPUs that a user named for a launch, None if there was no choice or this machine does not have them."""
        gpus = None if spec.devices.any_free else spec.env.get(VISIBLE)
        return gpus if gpus and GPU_NUMBERS.fullmatch(gpus) and are_there(gpus) else None

    def acquire(
        self, run: RunPaths, spec: LaunchSpec, *, is_canceled: Callable[[], bool], waiting: Callable[[str], None]
    ) -> DeviceLease | None:
        """Wait in the queue for the devices of a run and return their locks, None if it was canceled before."""
        last_reason = ""
        self._queue.join(run, spec.run_id, spec.devices.names)
        try:
            while not is_canceled():
                with suppress(NotReadableNow):  # who is ahead is not known now; it is polled
                    ahead = self._queue.ahead_of(run)
                    reserved = {device for ticket in ahead for device in ticket.devices}
                    if (lease := acquire_devices(spec.devices, run.folder, reserved_by_earlier=reserved)) is not None:
                        return lease
                    if (reason := waiting_reason(run, spec.devices, ahead)) != last_reason:
                        last_reason = reason
                        waiting(reason)
                time.sleep(QUEUE_POLL_S)
            return None
        finally:
            with suppress(NotReadableNow):  # then reconcile removes it
                self._queue.remove(run, spec.run_id)

    def _state(self, run: RunPaths) -> EngineState:
        return _state_of(read_record(run), time.time())

    def _status(self, run: RunPaths) -> Status:
        return derive_status(RunSnapshot(run, read_state(run)), self._state(run)).status

    def _is_declared_live(self, run: RunPaths) -> bool:
        """Return True if a run is about to start, or executes on another host, where its supervisor reads the stop request."""
        try:
            return self._status(run) in LIVE
        except UnreadableState:
            return False

    def _restart_supervisor(self, ticket: Ticket) -> bool:
        run = self._outputs.run(ticket.slug)
        try:
            if not self._queue.is_abandoned(ticket):
                return False
            spec = read_launch_spec(run)
            if spec is None:
                self._end_unstartable(run, ticket)
                return False
            if spec.run_id != ticket.run_id or self._status(run) is not Status.QUEUED:
                self._queue.remove(run, ticket.run_id)
                return False
            if read_own_launch_spec(run) is None:  # `sessions.waiting` makes another one of the run's state
                return False
            self._queue.mark_restarted(ticket)
            _spawn(run, Mode.TRAIN)
        except (FluxGymError, OSError) as error:
            log.warning("the supervisor of %s, which waits in the queue, could not be restarted: %s", ticket.slug, error)
            return False
        return True

    def _end_unstartable(self, run: RunPaths, ticket: Ticket) -> None:
        """Remove the ticket of a run without a launch spec, and record that the run failed if its folder still waits for this start."""
        is_gone = is_missing(run.ui_state)
        if not is_gone and read_state(run).get("run_id") == ticket.run_id and self._status(run) is Status.QUEUED:
            log.warning("%s, which waits in the queue, cannot be started: its launch.json is missing or damaged", run.slug)
            update_state(run, {"status": Status.FAILED, "reason_code": ReasonCode.LAUNCH, "reason": NO_LAUNCH_SPEC})
        self._queue.remove(run, ticket.run_id)


def _spawn(run: RunPaths, mode: Mode) -> subprocess.Popen[bytes]:
    options = [] if mode is Mode.TRAIN else [f"--only-{mode}"]
    try:
        output = append_regular(run.monitor_log)
    except OSError as error:
        raise storage_error(error, run.monitor_log) from error
    with output:
        return start_detached([sys.executable, "-m", "fluxgym.supervisor", str(run.folder), *options], output)


def _wait_until_recorded(run: RunPaths, spec: LaunchSpec, process: subprocess.Popen[bytes]) -> None:
    deadline, started = time.monotonic() + START_TIMEOUT_S, local_process(process.pid)
    while time.monotonic() < deadline:
        if _has_recorded_itself(run, spec, process.pid):
            return
        if process.poll() is not None:
            if process.returncode == 0:
                return
            raise LaunchError(f"The supervisor did not start: {' '.join(tail(run.monitor_log, 1)) or 'its log is empty'}")
        time.sleep(START_POLL_S)
    if started is not None:
        signal_process(started, signal.SIGKILL)
    raise LaunchError(f"The supervisor did not start within {START_TIMEOUT_S:.0f} seconds. The machine may be overloaded; try again.")


def _has_recorded_itself(run: RunPaths, spec: LaunchSpec, pid: int) -> bool:
    record = read_record(run)
    return record is not None and record.supervisor is not None and record.supervisor.pid == pid and _is_of(record, spec)


def _is_of(record: ProcessRecord, spec: LaunchSpec) -> bool:
    return (record.run_id, record.attempt) == (spec.run_id, spec.attempt)


def _state_of(record: ProcessRecord | None, now: float) -> EngineState:
    if record is None:
        return EngineState(phase=EnginePhase.GONE, observed_at=now)
    is_supervised = is_alive(record.supervisor)
    if is_alive(record.trainer):
        return EngineState(phase=EnginePhase.ACTIVE, is_supervised=is_supervised, observed_at=now)
    if is_supervised:
        phase = EnginePhase.PENDING if record.trainer is None else EnginePhase.FINISHING
        return EngineState(phase=phase, reason=_frozen_reason(record), is_supervised=True, observed_at=now)
    return _state_of_dead(record, now)


def _frozen_reason(record: ProcessRecord) -> str:
    if record.trainer is None or record.supervisor is None or not is_frozen(record.supervisor):
        return ""
    return f"Its trainer has ended, but the process that watches it (PID {record.supervisor.pid}) is frozen. Stop resumes it."


def _state_of_dead(record: ProcessRecord, now: float) -> EngineState:
    known = record.trainer or record.supervisor
    liveness = Liveness.DEAD if known is None else liveness_of(known)
    if known is not None and liveness is Liveness.OTHER_HOST:
        return EngineState(phase=EnginePhase.UNREACHABLE, node=known.host, observed_at=now)
    reason = _restart_reason(known) if known is not None and liveness is Liveness.REBOOTED else ""
    return EngineState(phase=EnginePhase.GONE, reason=reason, observed_at=now)


def _restart_reason(known: ProcessIdentity) -> str:
    """Return what has restarted since a process was recorded, and when: only the container if the kernel is still the same."""
    started, what = init_started_at(), "container" if known.boot_id == boot_id() else "machine or container"
    return f"The {what} restarted" + (f" at {datetime.fromtimestamp(started):%Y-%m-%d %H:%M}." if started is not None else ".")


def _command_line(process: Path) -> list[bytes]:
    """Return the words of a supervisor's or trainer's command line, [] for any other process."""
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return []
    return words if any(Path(os.fsdecode(word)).name in PROGRAMS for word in words) else []
