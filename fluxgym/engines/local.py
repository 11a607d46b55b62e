"""The local engine: start and stop a supervisor process, and find processes whose run folder was removed."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Literal

from fluxgym.contract.codes import LIVE
from fluxgym.errors import LaunchError, StopFailed, UnreadableState
from fluxgym.runs.files import tail
from fluxgym.runs.launch_spec import GRACE_S, LaunchSpec, read_launch_spec, write_stop_request
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.process_identity import PROC, is_alive, read_record, resume_process
from fluxgym.runs.state import read_state
from fluxgym.runs.status import DerivedStatus, derive_status, has_live_process

PROJECT = Path(__file__).parents[2]
START_TIMEOUT_S = 30.0
POLL_S_SPAWN = 0.05
POLL_S = 0.1
OUTLIVE_S = 30.0
PROGRAMS = ("fluxgym.supervisor", "fluxgym.launch.supervisor", "flux_train_network.py")


def spawn_supervisor(run: RunPaths, order: LaunchSpec, *, only: Literal["", "stop", "verify"] = "", wait: bool = True) -> None:
    """Start a supervisor in its own session and return once it has taken the run over, or has ended already; at once without `wait`.

    `only` tells it to just stop a trainer whose supervisor died, or to just verify what one left. Raises LaunchError when it does not come up.
    """
    argv = [sys.executable, "-m", "fluxgym.supervisor", str(run.folder), *([f"--only-{only}"] if only else [])]
    with run.monitor_log.open("ab") as log:
        process = detach(argv, log)
    if wait:
        _wait_until_it_watches(run, order, process)


def detach(argv: list[str], log: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
    """Start a program of ours in a session of its own, its words into `log` or nowhere; it outlives this process."""
    words = log or subprocess.DEVNULL
    process = subprocess.Popen(argv, cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=words, stderr=words, start_new_session=True)
    threading.Thread(target=process.wait, daemon=True).start()  # so that it is no zombie while this process lives
    return process


def _wait_until_it_watches(run: RunPaths, order: LaunchSpec, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if _has_taken_over(run, order, process.pid):
            return
        if process.poll() is not None:
            if process.returncode == 0:
                return
            raise LaunchError(f"The supervisor did not start: {' '.join(tail(run.monitor_log, 1)) or 'its log is empty'}")
        time.sleep(POLL_S_SPAWN)
    process.kill()
    raise LaunchError(f"The supervisor did not start within {START_TIMEOUT_S:.0f} seconds; the machine may be overloaded, try again.")


def _has_taken_over(run: RunPaths, order: LaunchSpec, pid: int) -> bool:
    record = read_record(run)
    if record is None or record.supervisor is None or record.supervisor.pid != pid:
        return False
    return (record.run_id, record.attempt) == (order.run_id, order.attempt)


def request_stop(run: RunPaths, *, now: bool = False, grace_s: float = GRACE_S) -> bool:
    """Leave the wish to stop and return at once; False when nothing of the run is alive. `now` spares the trainer no time to save.

    A supervisor that has died is replaced by one that does just this.
    """
    order, record = read_launch_spec(run), read_record(run)
    asked = record if record is not None and has_live_process(run) else order  # a damaged launch.json is no reason to let it run on
    if asked is None or not (has_live_process(run) or _says_it_lives(run)):
        return False
    write_stop_request(run, asked.run_id, asked.attempt, 0.0 if now else grace_s)
    if record is not None and record.supervisor is not None and is_alive(record.supervisor):
        resume_process(record.supervisor)
    elif order is not None and record is not None and is_alive(record.trainer):
        spawn_supervisor(run, order, only="stop", wait=False)
    elif order is not None and run.ticket.exists():
        spawn_supervisor(run, order)  # one that waited and has died: its successor reads the wish and leaves the queue
    return True


def _says_it_lives(run: RunPaths) -> bool:
    """Return True if it is about to start, or lives on another machine: its supervisor reads the wish there."""
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


def find_stray(run: RunPaths) -> int | None:
    """Return the PID of a supervisor or trainer that was started for this very folder, None when there is none to be seen."""
    return find_strays([run]).get(run)


def find_strays(runs: list[RunPaths]) -> dict[RunPaths, int]:
    """Return such a PID of each run that has one, of one look at all processes."""
    folders = {os.fsencode(run.folder): run for run in runs}
    found: dict[RunPaths, int] = {}
    for entry in os.scandir(PROC):
        if entry.name.isdigit():
            found |= {folders[word]: int(entry.name) for word in _words_of_ours(Path(entry.path)) if word in folders}
    return found


def _words_of_ours(process: Path) -> list[bytes]:
    """Return a supervisor's or trainer's command line, nothing of any other process."""
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return []
    return words if any(Path(os.fsdecode(word)).name in PROGRAMS for word in words) else []
