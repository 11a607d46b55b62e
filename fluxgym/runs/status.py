"""The status of a run, derived from its files and from what its engine observes, never from the stored status alone."""

from dataclasses import dataclass, replace
from enum import StrEnum

from fluxgym.contract.codes import LIVE, ReasonCode, Status
from fluxgym.contract.progress import Line
from fluxgym.runs.exit_record import ExitRecord
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.progress import is_done, read_last
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.runs.state import State, timestamp_of

START_GRACE_S = 30.0
ACTIVITY_LIMIT_S = 120.0
KILLED = "Its processes ended without an error message. Another program killed them, or the kernel did because memory ran out."
NOT_QUEUED = "It waited in the queue and has lost its position there. Resume it if it has a checkpoint, otherwise start it again."
SYMBOLS = {  # the guide's
    Status.STARTING: "🟡", Status.QUEUED: "🟡", Status.RUNNING: "🟢", Status.STOPPED: "🔵", Status.COMPLETED: "✅", Status.FAILED: "❌",
    Status.UNREADABLE: "⚠️",
}  # fmt: skip


@dataclass(frozen=True)
class SessionStatus:
    """A status with its reason, which is empty if there is nothing to explain."""

    status: Status
    reason_code: str = ""
    reason: str = ""


class EnginePhase(StrEnum):
    """What an engine observes of a run's latest attempt."""

    PENDING = "pending"  # its supervisor is alive and has not started a trainer
    WAITING = "waiting"  # it has a ticket in the queue of this host, or has lost it, and no process
    ACTIVE = "active"  # its trainer is alive
    FINISHING = "finishing"  # its trainer has ended and its supervisor verifies the result
    GONE = "gone"  # nothing of it is alive
    UNREACHABLE = "unreachable"  # it was recorded on another host, of which only the files can be seen


EXECUTING = frozenset({EnginePhase.PENDING, EnginePhase.ACTIVE, EnginePhase.FINISHING})


@dataclass(frozen=True, kw_only=True)
class EngineState:
    """One observation. reason is what the engine reports beyond the phase, node the other host; observed_at is in seconds since the epoch."""

    phase: EnginePhase
    reason: str = ""
    node: str = ""
    is_supervised: bool = False
    observed_at: float = 0.0


def derive_status(snapshot: RunSnapshot, engine_state: EngineState) -> SessionStatus:
    """Return the status of a run from its files and what its engine observes."""
    stored = _stored(snapshot.state)
    if engine_state.phase is EnginePhase.ACTIVE:
        return _status_of_live_trainer(snapshot)
    if engine_state.phase is EnginePhase.FINISHING:
        return (
            SessionStatus(Status.STOPPED, ReasonCode.UNKNOWN, engine_state.reason) if engine_state.reason else SessionStatus(Status.RUNNING)
        )
    if engine_state.phase is EnginePhase.PENDING:
        pending = stored if stored.status in (Status.QUEUED, Status.STARTING) else SessionStatus(Status.STARTING)
        return replace(pending, reason=engine_state.reason or pending.reason)
    if stored.status not in LIVE:
        return stored
    if snapshot.is_queued or (snapshot.has_lost_ticket and engine_state.phase is EnginePhase.WAITING):
        return _of_waiting(stored, engine_state)
    if (ended := snapshot.exit_record) is not None and _is_of_latest_attempt(ended, snapshot):
        return SessionStatus(Status(ended.status), ended.reason_code, ended.reason)
    return _status_of_dead_processes(snapshot, engine_state)


def is_monitored(snapshot: RunSnapshot, engine_state: EngineState) -> bool:
    """Return True if the process in monitor.pid is the run's live supervisor, which the list of sessions shows as "Monitoring ✅"."""
    record = snapshot.process_record
    supervisor = record.supervisor if record is not None else None
    return engine_state.is_supervised and supervisor is not None and snapshot.monitor_pid == supervisor.pid


def is_unchecked(run: RunPaths, attempt: int) -> bool:
    """Return True if an attempt's trainer reported that it is done, and a model is there."""
    return _is_done_in(read_last(run.progress), attempt) and run.lora.is_file()


def _stored(state: State) -> SessionStatus:
    try:
        status = Status(str(state.get("status", "")))
    except ValueError:
        return SessionStatus(Status.STOPPED)
    if status is Status.UNREADABLE:  # describes a state that cannot be read, and this one was read
        return SessionStatus(Status.STOPPED)
    return SessionStatus(status, str(state.get("reason_code") or ""), str(state.get("reason") or ""))


def _of_waiting(stored: SessionStatus, engine_state: EngineState) -> SessionStatus:
    """Return the status of a run that waits and has no process here; the engine gives a reason if nothing starts waiting runs now."""
    if engine_state.phase is EnginePhase.UNREACHABLE:
        return SessionStatus(Status.QUEUED, "", f"It waits on another machine, {engine_state.node}.")
    return SessionStatus(Status.QUEUED, "", engine_state.reason or stored.reason)


def _launch_attempt(snapshot: RunSnapshot) -> int:
    return 0 if snapshot.launch_spec is None else snapshot.launch_spec.attempt


def _is_of_latest_attempt(ended: ExitRecord, snapshot: RunSnapshot) -> bool:
    """Return True if an exit record describes the latest attempt; a record from before a resume does not."""
    if ended.run_id != snapshot.state.get("run_id") or ended.attempt < _launch_attempt(snapshot):
        return False
    return snapshot.process_record is None or ended.attempt == snapshot.process_record.attempt


def _status_of_live_trainer(snapshot: RunSnapshot) -> SessionStatus:
    record = snapshot.process_record
    pid = record.trainer.pid if record is not None and record.trainer is not None else None
    if snapshot.training_pid == pid:
        return SessionStatus(Status.RUNNING)
    reason = f"training.pid was removed or changed by hand, but the trainer (PID {pid}) is still alive."
    return SessionStatus(Status.STOPPED, ReasonCode.UNKNOWN, reason)


def _status_of_dead_processes(snapshot: RunSnapshot, engine_state: EngineState) -> SessionStatus:
    """Return the status of a run whose stored status is live while nothing of it is alive here."""
    record = snapshot.process_record
    if record is None or record.run_id != snapshot.state.get("run_id") or record.attempt < _launch_attempt(snapshot):
        return _status_without_supervisor(snapshot, engine_state)
    if engine_state.phase is EnginePhase.UNREACHABLE:
        return _status_on_other_host(snapshot, engine_state)
    if _is_done_in(snapshot.last_lines[0], record.attempt) and snapshot.has_lora:
        reason = "Its trainer has finished, but nothing watched it, so its result was not checked; Resume checks it."
        return SessionStatus(Status.STOPPED, ReasonCode.UNKNOWN, reason)
    has_waited = record.trainer is None and str(snapshot.state.get("status")) == Status.QUEUED
    return SessionStatus(Status.STOPPED, ReasonCode.INTERRUPTED, engine_state.reason or (NOT_QUEUED if has_waited else KILLED))


def _status_without_supervisor(snapshot: RunSnapshot, engine_state: EngineState) -> SessionStatus:
    """Return the status of a run that was started or resumed while no supervisor has recorded itself for that attempt."""
    moments = () if snapshot.is_moved else (timestamp_of(snapshot.state), snapshot.launched_at)
    if any(_is_recent(moment, engine_state, START_GRACE_S) for moment in moments):
        return SessionStatus(Status.STARTING)
    if snapshot.process_record is not None and _launch_attempt(snapshot) > 1:
        return SessionStatus(Status.STOPPED, ReasonCode.INTERRUPTED, "It was resumed, but its supervisor did not start; resume it again.")
    return SessionStatus(
        Status.STOPPED,
        ReasonCode.INTERRUPTED,
        "No process of this run is known here; resume it if it has a checkpoint, otherwise start it again.",
    )


def _status_on_other_host(snapshot: RunSnapshot, engine_state: EngineState) -> SessionStatus:
    if all(_is_recent(moment, engine_state, ACTIVITY_LIMIT_S) for moment in (snapshot.last_activity, snapshot.last_report)):
        return SessionStatus(Status.RUNNING, "", f"It runs on another machine, {engine_state.node}.")
    reason = f"It ran on another machine, {engine_state.node}, which has not written anything recently."
    return SessionStatus(Status.STOPPED, ReasonCode.INTERRUPTED, reason)


def _is_recent(moment: float, engine_state: EngineState, limit_s: float) -> bool:
    """Return True if a moment is within limit_s of the observation; a moment further in the future than clocks differ is not trusted."""
    return -limit_s < engine_state.observed_at - moment < limit_s


def _is_done_in(last: Line | None, attempt: int) -> bool:
    return last is not None and is_done(last) and last.get("attempt", 1) == attempt
