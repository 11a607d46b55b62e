"""Asking a run to stop, and waiting until it has. Signals to the trainer are the supervisor's business alone."""

import time

from fluxgym.errors import StopFailed, UnreadableState
from fluxgym.launch.order import GRACE_S, read_launch, write_stop
from fluxgym.launch.spawn import spawn_supervisor
from fluxgym.run.identity import is_alive, wake
from fluxgym.run.paths import RunPaths
from fluxgym.run.process_record import read_record
from fluxgym.run.status import LIVE, DerivedStatus, derive_status, has_live_process
from fluxgym.run.ui_state import read_state

POLL_S = 0.1
OUTLIVE_S = 30.0


def request_stop(run: RunPaths, *, now: bool = False, grace_s: float = GRACE_S) -> bool:
    """Leave the wish to stop and return at once; False when nothing of the run is alive. `now` spares the trainer no time to save.

    A supervisor that has died is replaced by one that does just this.
    """
    order, record = read_launch(run), read_record(run)
    asked = record if record is not None and has_live_process(run) else order  # a damaged launch.json is no reason to let it run on
    if asked is None or not (has_live_process(run) or _says_it_lives(run)):
        return False
    write_stop(run, asked.run_id, asked.attempt, 0.0 if now else grace_s)
    if record is not None and record.supervisor is not None and is_alive(record.supervisor):
        wake(record.supervisor)
    elif order is not None and record is not None and is_alive(record.trainer):
        spawn_supervisor(run, order, only="stop", wait=False)
    elif order is not None and run.ticket.exists():
        spawn_supervisor(run, order)  # one that waited and has died: its successor reads the wish and leaves the queue
    return True


def _says_it_lives(run: RunPaths) -> bool:
    """Say whether it is about to start, or lives on another machine: its supervisor reads the wish there."""
    try:
        return derive_status(run, read_state(run)).status in LIVE
    except UnreadableState:
        return False


def wait_until_ended(run: RunPaths, timeout_s: float = GRACE_S + OUTLIVE_S) -> DerivedStatus:
    """Wait until nothing of the run is alive and return what it ended in; raises StopFailed when that takes too long."""
    deadline = time.monotonic() + timeout_s
    while has_live_process(run):
        if time.monotonic() > deadline:
            raise StopFailed(f"{run.slug} has not ended within {timeout_s:.0f} seconds; its monitor.log says what was tried.")
        time.sleep(POLL_S)
    return derive_status(run, read_state(run))
