"""Preconditions of every change to a run: its name's lock, a free name, and no live process of the run."""

import itertools
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import datetime

from fluxgym.contract.codes import LIVE, Status
from fluxgym.contract.files import UI_STATE
from fluxgym.engines.registry import engine_of, has_process, observe_run, status_of
from fluxgym.errors import AlreadyRunning, SessionError, SessionNotFound, TakesOver, UnreadableState
from fluxgym.runs.locks import file_lock
from fluxgym.runs.path_checks import is_regular
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.process_identity import read_record
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.runs.state import State, name_of, next_version, read_state, read_state_or_empty
from fluxgym.runs.status import EnginePhase


def name_lock(outputs: OutputsPaths, slug: str) -> AbstractContextManager[None]:
    """Return the lock that start, resume, forget, delete, restore and adopt hold while they change a run of this name."""
    return file_lock(outputs.locks / slug, timeout_s=20, busy=f"Another start of {slug} is in progress; look at its session.")


def is_name_available(run: RunPaths) -> bool:
    """Return True if a new run may get this name: there is no such folder, and no process of a folder of this name that was removed."""
    return not os.path.lexists(run.folder) and run.slug not in engine_of(run).orphans([run])


def first_free_run(outputs: OutputsPaths, slug: str, *, first_version: int = 1) -> RunPaths:
    """Return the first available run of slug, slug-2, slug-3, ...; first_version 2 leaves out slug itself."""
    return next(run for run in run_versions(outputs, slug, first_version=first_version) if is_name_available(run))


def run_versions(outputs: OutputsPaths, slug: str, *, first_version: int = 1) -> Iterator[RunPaths]:
    """Yield the runs named slug, slug-2, slug-3, ... without end, from first_version on."""
    for number in itertools.count(first_version):
        yield outputs.run(slug if number == 1 else next_version(slug, number))


def ensure_is_run(run: RunPaths) -> None:
    """Refuse a folder of outputs/ that is missing or was never a run's, such as one where a user keeps other files.

    A run has a state, or a folder .run/, which stays after Forget.

    Raises:
        SessionNotFound: If the folder is not one of a run.
    """
    if not run.folder.is_dir():
        raise SessionNotFound(f"There is no run “{run.slug}”.")
    if not os.path.lexists(run.ui_state) and not run.private.is_dir():
        raise SessionNotFound(f"{run.folder} is not a run: it has no {UI_STATE}, so nothing in it was changed.")


def ensure_state_is_file(run: RunPaths) -> None:
    """Raise UnreadableState, which says what it is, if a run's ui_state.json is a named pipe, a folder or a broken link."""
    if os.path.lexists(run.ui_state) and not is_regular(run.ui_state):
        read_state(run)


def ensure_same_run(run: RunPaths, run_id: str | None) -> None:
    """Raise SessionError if a folder holds another run than the one with this id, None for any; the caller holds the name's lock."""
    if run_id and (now := read_state_or_empty(run).get("run_id")) and now != run_id:
        raise SessionError(f"{name_of(run)} was started again after the page showed it, so nothing was changed. Reload the page.")


def ensure_ended(run: RunPaths, *, orphans: Mapping[str, str] | None = None) -> None:
    """Raise AlreadyRunning if a run waits or has a live process, here or on another machine, even if its process record was removed.

    orphans is the result of Engine.orphans for many runs at once; without it, the processes are searched for this run.
    """
    if has_process(RunSnapshot(run, {})):
        raise AlreadyRunning(f"{name_of(run)} is running; stop it first.", field="lora_name")
    if orphans is None:
        orphans = engine_of(run).orphans([run])
    if run.slug in orphans:
        raise AlreadyRunning(
            f"A process of {name_of(run)} is still alive ({orphans[run.slug]}), but its record was removed or changed. "
            "End the process, or choose another name.",
            field="lora_name",
        )
    derived = status_of(run, _state_or_as_if_running(run))
    if derived.status in LIVE:
        raise AlreadyRunning(
            f"{name_of(run)} is {derived.status}. {derived.reason or 'Look at its session in a moment.'}", field="lora_name"
        )


def _state_or_as_if_running(run: RunPaths) -> State:
    """Return a run's state. If it cannot be read, return a stand-in from its process record, since it may be live on another host."""
    try:
        return read_state(run)
    except UnreadableState:
        record = read_record(run)
        return {"status": Status.STOPPED} if record is None else {"status": Status.RUNNING, "run_id": record.run_id}


def ensure_not_elsewhere(run: RunPaths, agreed: Collection[str]) -> None:
    """Raise TakesOver if a run was started on another host, no end of it was recorded, and the user has not agreed to take it over."""
    snapshot = RunSnapshot(run, read_state_or_empty(run))
    observed = observe_run(snapshot)
    if observed.phase is not EnginePhase.UNREACHABLE or snapshot.state.get("status") not in LIVE or TakesOver.is_given(agreed):
        return
    if (
        snapshot.exit_record is not None
        and snapshot.process_record is not None
        and snapshot.exit_record.attempt == snapshot.process_record.attempt
    ):
        return
    last = snapshot.last_activity
    seen = f"its last sign of life was at {datetime.fromtimestamp(last):%Y-%m-%d %H:%M}" if last else "it has left no sign of life"
    raise TakesOver(
        f"{name_of(run)} ran on another machine or container, {observed.node}; {seen}. If it still runs there, it is ended when it is taken over. "
        "Take it over only if you know that it has ended there or can be lost."
    )
