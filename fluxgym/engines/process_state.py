"""The state of a run by its recorded processes: which of them are alive, frozen, or of another host."""

from datetime import datetime

from fluxgym.runs.process_identity import (
    Liveness,
    ProcessIdentity,
    ProcessRecord,
    boot_id,
    init_started_at,
    is_alive,
    is_frozen,
    liveness_of,
)
from fluxgym.runs.status import EnginePhase, EngineState


def state_of_record(record: ProcessRecord | None, now: float) -> EngineState:
    """Return the state of a run whose process.json has this record; now is in seconds since the epoch."""
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
