"""May anything be done to a run now? The one answer for start, resume, forget, delete, restore and adopt, and the lock they hold meanwhile."""

import os
from contextlib import AbstractContextManager

from fluxgym.contract.codes import LIVE
from fluxgym.engines.local import find_stray
from fluxgym.errors import AlreadyRunning, UnreadableState
from fluxgym.runs.files import file_lock
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.state import read_state
from fluxgym.runs.status import derive_status, has_live_process


def name_lock(outputs: OutputsPaths, slug: str) -> AbstractContextManager[None]:
    """Return the lock under which a run of this name is made, changed or taken away: one at a time, whoever does it."""
    return file_lock(outputs.locks / slug, timeout_s=20, busy=f"Another start of {slug} is under way; look at its session.")


def is_name_available(run: RunPaths) -> bool:
    """Return True if a new run may get this name: nothing lies there, and nothing lives that was started there before it was removed."""
    return not os.path.lexists(run.folder) and find_stray(run) is None


def ensure_ended(run: RunPaths, *, strays: dict[RunPaths, int] | None = None) -> None:
    """Raise AlreadyRunning while anything of a run lives or waits: here, on another machine, or with its record removed.

    `strays` is what `find_strays` has found, where many runs are asked for at once.
    """
    if has_live_process(run):
        raise AlreadyRunning(f"{run.slug} is running; stop it first.", field="lora_name")
    pid = find_stray(run) if strays is None else strays.get(run)
    if pid is not None:
        raise AlreadyRunning(
            f"A process of {run.slug} still lives (PID {pid}), though its record was removed or changed; end it, or choose another name.",
            field="lora_name",
        )
    try:
        derived = derive_status(run, read_state(run))
    except UnreadableState:
        return
    if derived.status in LIVE:
        raise AlreadyRunning(f"{run.slug} is {derived.status}. {derived.reason or 'Look at its session in a moment.'}", field="lora_name")
