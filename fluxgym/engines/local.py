"""The local engine: one supervisor process per running run on this machine, and a queue in front of the machine's devices."""

import logging
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from fluxgym.contract.codes import LIVE, ReasonCode, Status
from fluxgym.engines.base import CANCELED_REASON, Mode
from fluxgym.engines.tickets import Tickets
from fluxgym.engines.devices import LockedDevices, acquire_devices, are_there, device_request, devices_of, num_gpus
from fluxgym.engines.dispatcher_process import DispatcherProcess
from fluxgym.engines.spawn import StartedSupervisor, start_supervisor
from fluxgym.engines.waiting_reasons import WAITS_FOR_APP, WaitingReasons
from fluxgym.engines.waiting_runs import Starter, WaitingRun, WaitingRuns, with_those_ahead
from fluxgym.errors import FluxGymError, LaunchError, NotReadableNow, UnreadableState, describe_error
from fluxgym.runs.gpus import GPU_NUMBERS, VISIBLE
from fluxgym.runs.launch_spec import LaunchSpec, read_launch_spec, write_stop_request
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
    read_record,
    signal_recorded,
)
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.runs.state import read_state
from fluxgym.runs.status import ACTIVITY_LIMIT_S, EXECUTING, EnginePhase, EngineState, derive_status
from fluxgym.runs.ticket import read_ticket
from fluxgym.trainers.script import SCRIPT

LOST_POSITION = (
    "It has lost its position in the queue. Starting the app or any training puts it at its end; an open app does so within a minute."
)
START_POLL_S = 0.05
PROGRAMS = ("fluxgym.supervisor", "fluxgym.launch.supervisor", SCRIPT)  # the second is the supervisor of earlier versions
log = logging.getLogger(__name__)


class LocalEngine:
    """Runs of one outputs folder on this machine. State is in files and in /proc, so any process may create one."""

    def __init__(self, outputs: OutputsPaths) -> None:
        self._outputs = outputs
        self._tickets, self._waiting, self._dispatcher = Tickets(outputs), WaitingRuns(outputs), DispatcherProcess(outputs)

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
        elif (waiting := self._waiting.of(run)) is not None and waiting.starter in (Starter.DISPATCHER, Starter.APP):
            self._waiting.end(waiting, Status.STOPPED, ReasonCode.USER, CANCELED_REASON)
        return True

    def abandoned(self) -> tuple[str, ...]:
        """Return the slugs of the waiting runs that nothing would start any more, the next first."""
        return tuple(waiting.run.slug for waiting in self._abandoned(self._waiting.all()))

    def _abandoned(self, runs: Sequence[WaitingRun]) -> list[WaitingRun]:
        starters = {Starter.APP, Starter.DISPATCHER} if self._dispatcher.problem() else {Starter.APP}
        return [waiting for waiting in runs if waiting.starter in starters]

    def observe(self, snapshots: Sequence[RunSnapshot]) -> Mapping[str, EngineState]:
        """Return the state of each run's processes, by slug."""
        return {snapshot.run.slug: self._observe(snapshot) for snapshot in snapshots}

    def _observe(self, snapshot: RunSnapshot) -> EngineState:
        state = _state_of(snapshot.process_record, time.time())
        if state.phase in EXECUTING or not (snapshot.is_queued or snapshot.has_lost_ticket):
            return state
        if state.phase is EnginePhase.UNREACHABLE and abs(state.observed_at - snapshot.last_activity) < ACTIVITY_LIMIT_S:
            return state
        reason = LOST_POSITION if snapshot.has_lost_ticket else self._dispatcher.problem(snapshot.run.slug)
        return EngineState(phase=EnginePhase.WAITING, reason=reason, observed_at=state.observed_at)

    def orphans(self, runs: Sequence[RunPaths]) -> Mapping[str, str]:
        """Return a supervisor or trainer that was started for a run's folder, from one pass over all processes."""
        folders = {os.fsencode(run.folder): run.slug for run in runs}
        found: dict[str, str] = {}
        for entry in os.scandir(PROC):
            if entry.name.isdigit():
                found |= {folders[word]: f"PID {entry.name}" for word in _command_line(Path(entry.path)) if word in folders}
        return found

    def reconcile(self) -> tuple[str, ...]:
        """Make sure that a dispatcher is alive if runs wait, and return the names of those that nothing would have started. Never raises."""
        try:
            restored = self._restore_tickets()
            runs = [waiting for waiting in self._waiting.all() if not self._try_to_drop(waiting)]
            abandoned = [waiting.run.slug for waiting in self._abandoned(runs) if waiting.starter is Starter.DISPATCHER]
            if any(waiting.starter is not Starter.OWN_SUPERVISOR for waiting in runs):
                self._dispatcher.ensure()
        except Exception as error:  # the app that looks after the queue goes on  # noqa: BLE001
            log.warning("the runs that wait in the queue could not be continued: %s", describe_error(error))
            return ()
        return tuple(dict.fromkeys([*abandoned, *restored]))

    def _restore_tickets(self) -> list[str]:
        """Write tickets at the end of the queue for runs that have lost theirs, and return their names."""
        restored = []
        for run in self._outputs.runs():
            try:
                snapshot = RunSnapshot.read(run)
                if snapshot.has_lost_ticket and self._observe(snapshot).phase is EnginePhase.WAITING and (spec := snapshot.launch_spec):
                    self._tickets.join(run, spec.run_id, spec.devices.names)
                    log.warning("%s had lost its position in the queue and is at its end now", run.slug)
                    restored.append(run.slug)
            except Exception as error:  # noqa: BLE001  of one run's files
                log.warning("%s: %s", run.slug, describe_error(error))
        return restored

    def _try_to_drop(self, waiting: WaitingRun) -> bool:
        """Return True if a run does not wait any more; an error that concerns one run does not stop the others."""
        try:
            return self._waiting.drop(waiting)
        except Exception as error:  # noqa: BLE001
            log.warning("%s, which waits in the queue: %s", waiting.run.slug, describe_error(error))
            return False

    def move(self, run: RunPaths, position: int) -> None:
        """Move a waiting run to a position in the queue, 1 is next.

        Raises:
            SessionError: If it does not wait.
        """
        self._tickets.move(run.slug, position)

    def waiting(self) -> tuple[str, ...]:
        """Return the slugs of the waiting runs, the next first."""
        return tuple(ticket.slug for ticket in self._tickets.all())

    def waiting_reasons(self) -> Mapping[str, str]:
        """Return what each waiting run waits for now, the next run first; a run whose folder or launch spec is gone is left out."""
        reasons = WaitingReasons(others_wait=self._dispatcher.other_queues())
        found = {}
        for waiting, ahead in with_those_ahead(self._waiting.all()):
            if waiting.starter is Starter.OTHER_HOST:
                found[waiting.run.slug] = f"It waits on another machine, {waiting.other_host}."
            elif waiting.starter is Starter.APP or self._is_left_to_another_app(waiting):
                found[waiting.run.slug] = WAITS_FOR_APP
            elif waiting.spec is not None and waiting.is_ahead_of_others:
                reason = reasons.reason(waiting.run, waiting.spec.devices, ahead)
                found[waiting.run.slug] = (
                    reason if waiting.starter is Starter.OWN_SUPERVISOR else self._dispatcher.problem(waiting.run.slug) or reason
                )
        return found

    def _is_left_to_another_app(self, waiting: WaitingRun) -> bool:
        """Return True if the dispatcher is that of another installation with the same locks: it does not start the runs of this one."""
        return waiting.reason == WAITS_FOR_APP and not self._dispatcher.problem()

    def waiting_since(self, run: RunPaths) -> float | None:
        """Return when a run joined the queue, None if it does not wait."""
        ticket = read_ticket(run)
        return None if ticket is None else float(ticket.since)

    def devices(self) -> tuple[str, ...]:
        """Return this machine's devices that runs may use."""
        return tuple(devices_of(None))

    def num_gpus(self) -> int:
        """Return the number of NVIDIA GPUs of this machine."""
        return num_gpus()

    def assign(self, spec: LaunchSpec, gpus: str | None) -> LaunchSpec:
        """Return a launch spec that requests the GPUs that a user named ("0,1"), else any free device of those that this process sees."""
        visible = gpus or os.environ.get(VISIBLE)
        return replace(spec, env={} if visible is None else {VISIBLE: visible}, devices=device_request(gpus))

    def chosen_gpus(self, spec: LaunchSpec) -> str | None:
        """Return the GPUs that a user named for a launch, None if there was no choice or this machine does not have them."""
        gpus = None if spec.devices.any_free else spec.env.get(VISIBLE)
        return gpus if gpus and GPU_NUMBERS.fullmatch(gpus) and are_there(gpus) else None

    def acquire(
        self, run: RunPaths, spec: LaunchSpec, *, is_canceled: Callable[[], bool], waiting: Callable[[str], None]
    ) -> LockedDevices | None:
        """Return the locks on the devices of a run. If it has to wait, return None and leave its ticket to the dispatcher."""
        self._tickets.join(run, spec.run_id, spec.devices.names)
        is_left = False
        try:
            with suppress(NotReadableNow):  # who is ahead is not known now: the dispatcher looks again
                if not is_canceled() and (devices := self._acquire_in_turn(run, spec, waiting)) is not None:
                    return devices
            if is_left := not is_canceled():
                self._start_dispatcher()
            return None
        finally:
            if not is_left:
                with suppress(FluxGymError):  # then the dispatcher removes it
                    self._tickets.remove(run, spec.run_id)

    def _acquire_in_turn(self, run: RunPaths, spec: LaunchSpec, waiting: Callable[[str], None]) -> LockedDevices | None:
        """Return the locks on the devices, or None after a call of `waiting` if they are in use or runs ahead wait for them."""
        ahead = next((ahead for other, ahead in with_those_ahead(self._waiting.all()) if other.run.slug == run.slug), [])
        reserved = frozenset[str]().union(*(other.devices for other in ahead))
        devices = acquire_devices(spec.devices, run.folder, reserved_by_earlier=reserved)
        if devices is None:
            waiting(WaitingReasons(others_wait=self._dispatcher.other_queues()).reason(run, spec.devices, ahead))
        return devices

    def _start_dispatcher(self) -> None:
        """Make sure that a dispatcher is alive. If that fails, only the log says why; the run's status says that nothing starts it."""
        try:
            self._dispatcher.ensure()
        except (FluxGymError, OSError) as error:
            log.error("%s", error)

    def _state(self, run: RunPaths) -> EngineState:
        return _state_of(read_record(run), time.time())

    def _is_declared_live(self, run: RunPaths) -> bool:
        """Return True if a run waits, is about to start, or executes on another host, where its supervisor reads the stop request."""
        try:
            snapshot = RunSnapshot(run, read_state(run))
        except UnreadableState:
            return False
        return derive_status(snapshot, self._observe(snapshot)).status in LIVE


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
    if record.supervisor is None or not is_frozen(record.supervisor):
        return ""
    if record.trainer is None:
        return f"The process that starts it (PID {record.supervisor.pid}) is frozen. Stop resumes it."
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
