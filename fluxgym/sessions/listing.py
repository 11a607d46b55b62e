"""The list of sessions, the run that a name means, and the run that the form shows on load."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fluxgym.contract.codes import LIVE, ReasonCode, Status
from fluxgym.contract.progress import is_number
from fluxgym.errors import FluxGymError, SessionNotFound, UnreadableState
from fluxgym.runs.files import storage_error
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.progress import eta_s
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.runs.state import State, read_state, timestamp_of
from fluxgym.runs.status import is_monitored, status_of
from fluxgym.sessions.index import SessionIndex

SHOWN = ("time", "attempt", "phase", "step", "total_steps", "epoch", "loss", "lr", "s_per_it", "vram_mb", "rss_mb", "item", "num_items")


@dataclass(frozen=True, kw_only=True)
class Session:
    """One row: what `fluxgym sessions --json` prints of a run. started is in seconds since the epoch."""

    slug: str
    lora_name: str
    status: Status
    reason_code: str
    reason: str
    started: float
    max_train_epochs: int | None
    checkpointing: bool
    monitoring: bool
    progress: dict[str, Any]
    folder: str
    run_id: str | None

    def to_json(self) -> dict[str, Any]:
        """Return the row as JSON's types."""
        return asdict(self) | {"status": self.status.value}


def list_sessions(outputs: Path) -> list[Session]:
    """Return every session, newest first; raises StorageError when the folder itself cannot be read."""
    try:
        found = [session_of(run) for run in OutputsPaths(outputs).runs()]
    except OSError as error:
        raise storage_error(error, outputs) from error
    return sorted((session for session in found if session), key=lambda session: (-session.started, session.slug))


def session_of(run: RunPaths) -> Session | None:
    """Return a run's row, None when its state has gone meanwhile."""
    try:
        written_at = run.ui_state.stat().st_mtime
    except FileNotFoundError:
        return None
    except OSError:
        written_at = 0.0  # reading it will say why
    try:
        return _readable(run, read_state(run), written_at)
    except UnreadableState as error:
        return _row(RunSnapshot(run, {}), Status.UNREADABLE, written_at, reason_code=ReasonCode.UNREADABLE, reason=str(error))


def _readable(run: RunPaths, state: State, written_at: float) -> Session:
    facts = RunSnapshot(run, state)
    derived = status_of(facts)
    return _row(
        facts, derived.status, timestamp_of(state) or written_at, reason_code=derived.reason_code, reason=derived.reason,
        progress=progress_of(facts, is_live=derived.status in LIVE),
    )  # fmt: skip


def _row(
    facts: RunSnapshot, status: Status, started: float, *, reason_code: str, reason: str, progress: dict[str, Any] | None = None
) -> Session:
    run, state = facts.run, facts.state
    return Session(
        slug=run.slug,
        lora_name=str(state.get("lora_name") or run.slug),
        status=status,
        reason_code=reason_code,
        reason=reason,
        started=started,
        max_train_epochs=_whole(state.get("max_train_epochs")),
        checkpointing=str(state.get("enable_checkpointing")).strip().lower() in ("true", "1", "yes", "on"),
        monitoring=is_monitored(facts),
        progress=progress or {},
        folder=str(run.folder),
        run_id=state.get("run_id") if isinstance(state.get("run_id"), str) else None,
    )


def _whole(value: Any) -> int | None:
    """Return a number as Resume would take it, though a hand wrote 20.0 or "20"; None for what is none."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    exact = number.is_integer() and is_number(number)
    return int(number) if exact and not isinstance(value, bool) else None


def progress_of(facts: RunSnapshot, *, is_live: bool) -> dict[str, Any]:
    """Return the trainer's last word; the last loss and speed stand with it, and while it lives the remaining seconds."""
    last, steady = facts.last_lines
    if last is None:
        return {}
    record = facts.record
    attempt = max(facts.launch_attempt, record.attempt if record is not None else 0)
    if is_live and attempt and last.get("attempt", 1) != attempt:  # this attempt has not said anything yet
        return {name: last[name] for name in ("step", "total_steps") if name in last}
    known = {name: steady[name] for name in ("loss", "lr", "s_per_it", "epoch", "total_steps") if steady and name in steady} | last
    remaining = eta_s(known) if is_live else None
    return {name: known[name] for name in SHOWN if name in known} | ({} if remaining is None else {"eta_s": remaining})


def find_run(name: str, outputs: Path) -> RunPaths:
    """Return the run that a person names: its folder first, then a LoRA name that only one run has.

    Raises SessionNotFound saying what there is.
    """
    paths = OutputsPaths(outputs)
    try:
        run = paths.run(name)
    except SessionNotFound:
        run = None
    if run is not None and run.ui_state.is_file():
        return run
    named = sorted(session.slug for session in list_sessions(outputs) if session.lora_name == name)
    if len(named) == 1:
        return paths.run(named[0])
    if named:
        raise SessionNotFound(f"Several runs are named “{name[:80]}”: {', '.join(named)}; give the folder.")
    raise SessionNotFound(f"There is no run “{name[:80]}” in {outputs}; python -m fluxgym sessions lists what there is.")


def last_session(outputs: OutputsPaths, index: SessionIndex, viewed: str | None = None) -> RunPaths | None:
    """Return the run to show, None when there is none that can be read."""
    if viewed:
        try:
            run = outputs.run(viewed)
        except FluxGymError:
            run = None
        if run is not None and run.ui_state.is_file():
            return run
    return next((outputs.run(entry.slug) for entry in index.look() if entry.status is not Status.UNREADABLE), None)
