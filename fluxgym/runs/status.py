"""What a run is doing, derived from its files and the processes that are alive; never just what somebody once wrote down."""

import time
from dataclasses import dataclass
from datetime import datetime

from fluxgym.contract.codes import LIVE, ReasonCode, Status
from fluxgym.contract.progress import Line
from fluxgym.runs.exit_record import ExitRecord
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.process_identity import Liveness, ProcessIdentity, ProcessRecord, boot_time, is_alive, is_frozen, liveness_of, read_record
from fluxgym.runs.progress import is_done, read_last
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.runs.state import State, timestamp_of

START_GRACE_S = 30.0
SIGN_OF_LIFE_S = 120.0


SYMBOLS = {
    Status.STARTING: "🟡", Status.QUEUED: "🟡", Status.RUNNING: "🟢", Status.STOPPED: "🔵", Status.COMPLETED: "✅", Status.FAILED: "❌",
    Status.UNREADABLE: "⚠️",
}  # fmt: skip


@dataclass(frozen=True)
class DerivedStatus:
    """A status with the reason for it, empty where there is none to give."""

    status: Status
    reason_code: str = ""
    reason: str = ""


def derive_status(run: RunPaths, state: State) -> DerivedStatus:
    """Say what a run is doing; `state` is what its ui_state.json holds."""
    return status_of(RunSnapshot(run, state))


def status_of(facts: RunSnapshot) -> DerivedStatus:
    """Say what a run is doing at this look."""
    record = facts.record
    if record is not None and is_alive(record.trainer):
        return _with_live_trainer(facts, record)
    if record is not None and record.supervisor is not None and is_alive(record.supervisor):
        if record.trainer is not None:
            return _without_trainer(record.supervisor)
        stored = _stored(facts.state)
        return stored if stored.status in (Status.QUEUED, Status.STARTING) else DerivedStatus(Status.STARTING)
    stored = _stored(facts.state)
    if stored.status not in LIVE:
        return stored
    if stored.status is Status.QUEUED and facts.run.ticket.exists():
        return DerivedStatus(
            Status.QUEUED,
            "",
            "It keeps its place in the queue, but nothing waits for it here; starting the app or any training brings it back.",
        )
    if (ended := facts.end) is not None and _is_of_the_last_attempt(ended, facts):
        return DerivedStatus(Status(ended.status), ended.reason_code, ended.reason)
    return _without_processes(facts)


def _is_of_the_last_attempt(ended: ExitRecord, facts: RunSnapshot) -> bool:
    """Return True if an end is the one that the stored status has not heard of; one before a resume is past."""
    if ended.run_id != facts.state.get("run_id") or ended.attempt < facts.launch_attempt:
        return False
    return facts.record is None or ended.attempt == facts.record.attempt


def is_supervised(run: RunPaths) -> bool:
    """Return True if the process of monitor.pid is the run's live supervisor: Monitoring ✅."""
    return is_monitored(RunSnapshot(run, {}))


def is_monitored(facts: RunSnapshot) -> bool:
    """Say the same at a look that was taken already."""
    supervisor = facts.record.supervisor if facts.record is not None else None
    return supervisor is not None and facts.monitor_pid == supervisor.pid and is_alive(supervisor)


def has_live_process(run: RunPaths) -> bool:
    """Return True if the recorded trainer or supervisor lives, whatever files somebody removed: then nothing may be started here."""
    record = read_record(run)
    return record is not None and (is_alive(record.trainer) or is_alive(record.supervisor))


def _with_live_trainer(facts: RunSnapshot, record: ProcessRecord) -> DerivedStatus:
    assert record.trainer is not None
    if facts.training_pid == record.trainer.pid:
        return DerivedStatus(Status.RUNNING)
    return DerivedStatus(
        Status.STOPPED,
        ReasonCode.UNKNOWN,
        f"training.pid was removed or changed by hand, but the trainer (PID {record.trainer.pid}) is still alive.",
    )


def _without_trainer(supervisor: ProcessIdentity) -> DerivedStatus:
    """Judge a run whose trainer has ended while its supervisor lives: it is being verified, unless nobody can go on with it."""
    if not is_frozen(supervisor):
        return DerivedStatus(Status.RUNNING)
    return DerivedStatus(
        Status.STOPPED,
        ReasonCode.UNKNOWN,
        f"Its trainer has ended, but the process that watches it (PID {supervisor.pid}) is frozen; Stop wakes it.",
    )


def _stored(state: State) -> DerivedStatus:
    try:
        status = Status(str(state.get("status", "")))
    except ValueError:
        return DerivedStatus(Status.STOPPED)
    if status is Status.UNREADABLE:  # said of files that cannot be read, and this one was
        return DerivedStatus(Status.STOPPED)
    return DerivedStatus(status, str(state.get("reason_code") or ""), str(state.get("reason") or ""))


def _without_processes(facts: RunSnapshot) -> DerivedStatus:
    """Judge a run that says it lives while none of its processes does here."""
    record = facts.record
    if record is None or record.run_id != facts.state.get("run_id") or record.attempt < facts.launch_attempt:
        return _not_come_up(facts)
    known = record.trainer or record.supervisor
    life = Liveness.DEAD if known is None else liveness_of(known)
    if life is Liveness.ELSEWHERE and known is not None:
        if _is_recent(last_activity(facts.run), SIGN_OF_LIFE_S):
            return DerivedStatus(Status.RUNNING, "", f"It runs on another machine, {known.host}.")
        return DerivedStatus(
            Status.STOPPED, ReasonCode.INTERRUPTED, f"It ran on another machine, {known.host}, which has been silent since."
        )
    if _is_done_by(facts.last_lines[0], record.attempt) and facts.run.lora.is_file():
        return DerivedStatus(
            Status.STOPPED,
            ReasonCode.UNKNOWN,
            "Its trainer has finished, but nothing watched it, so its result was not checked; Resume checks it.",
        )
    if life is Liveness.RESTARTED:
        return DerivedStatus(Status.STOPPED, ReasonCode.INTERRUPTED, f"The machine or container restarted{_boot_moment()}.")
    return DerivedStatus(
        Status.STOPPED,
        ReasonCode.INTERRUPTED,
        "Its processes ended without a word: killed from outside, or by the kernel for want of memory; which of these is not known.",
    )


def _not_come_up(facts: RunSnapshot) -> DerivedStatus:
    """Judge a run that was started or resumed while no supervisor has recorded itself for that."""
    if any(_is_recent(moment, START_GRACE_S) for moment in (timestamp_of(facts.state), facts.ordered_at)):
        return DerivedStatus(Status.STARTING)
    if facts.record is not None and facts.launch_attempt > 1:
        return DerivedStatus(Status.STOPPED, ReasonCode.INTERRUPTED, "It was to go on, but that did not come up; resume it again.")
    return DerivedStatus(
        Status.STOPPED, ReasonCode.INTERRUPTED, "No process of this run is known here; it can be resumed if it left a checkpoint."
    )


def _is_recent(moment: float, limit_s: float) -> bool:
    """Return True if a moment lies less than limit_s back; one that lies further ahead than clocks differ is not to be believed."""
    return -limit_s < time.time() - moment < limit_s


def is_unchecked(run: RunPaths, attempt: int) -> bool:
    """Return True if the last word of this attempt's trainer was that it is done, and it left a model."""
    return _is_done_by(read_last(run.progress), attempt) and run.lora.is_file()


def _is_done_by(last: Line | None, attempt: int) -> bool:
    return last is not None and is_done(last) and last.get("attempt", 1) == attempt


def last_activity(run: RunPaths) -> float:
    """Return when the run's processes last wrote something, in seconds since the epoch."""
    moments = [0.0]
    for path in (run.progress, run.training_log, run.monitor_log):
        try:
            moments.append(path.stat().st_mtime)
        except OSError:
            continue
    return max(moments)


def _boot_moment() -> str:
    booted = boot_time()
    return "" if booted is None else f" at {datetime.fromtimestamp(booted):%Y-%m-%d %H:%M}"
