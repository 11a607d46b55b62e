"""Stop a run, cancel a waiting one, and wait until a run has ended."""

import time

from fluxgym.engines.registry import engine_of, is_executing, status_of
from fluxgym.errors import SessionError, StopFailed
from fluxgym.runs.launch_spec import GRACE_S
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.runs.state import name_of, read_state
from fluxgym.runs.status import SessionStatus

POLL_S = 0.1
SUPERVISOR_GRACE_S = 30.0  # what a supervisor needs after its trainer's grace period


def request_stop(run: RunPaths, *, now: bool = False) -> bool:
    """Request that a run saves its state and ends; with `now`, that it ends at once.

    Return False if no process of the run is alive and it does not wait.
    """
    return engine_of(run).cancel(run, grace_s=0.0 if now else GRACE_S)


def stop(run: RunPaths, *, now: bool = False) -> None:
    """Request a stop and return at once.

    Raises:
        SessionError: If the run is not running.
    """
    if not request_stop(run, now=now):
        raise SessionError(f"{name_of(run)} is not running, so there is nothing to stop.")


def cancel_waiting(run: RunPaths) -> None:
    """Remove a waiting run from the queue.

    Raises:
        SessionError: If it does not wait.
    """
    waits = run.ticket.exists() or RunSnapshot.read(run).has_lost_ticket
    if not waits or not request_stop(run):
        raise SessionError(f"{name_of(run)} does not wait in the queue, so it cannot be canceled.")


def wait_until_ended(run: RunPaths, timeout_s: float = GRACE_S + SUPERVISOR_GRACE_S) -> SessionStatus:
    """Wait until nothing of a run is alive and return its status.

    Raises:
        StopFailed: After timeout_s.
    """
    deadline = time.monotonic() + timeout_s
    while is_executing(run):
        if time.monotonic() > deadline:
            raise StopFailed(f"{name_of(run)} has not ended within {timeout_s:.0f} seconds. Its monitor.log says what was tried.")
        time.sleep(POLL_S)
    return status_of(run, read_state(run))
