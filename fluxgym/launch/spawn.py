"""Starting the supervisor as a process of its own that nothing above it can take down."""

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Literal

from fluxgym.errors import LaunchError
from fluxgym.launch.order import LaunchOrder
from fluxgym.run.logs import tail
from fluxgym.run.paths import RunPaths
from fluxgym.run.process_record import read_record

PROJECT = Path(__file__).parents[2]
START_TIMEOUT_S = 30.0
POLL_S = 0.05


def spawn_supervisor(run: RunPaths, order: LaunchOrder, *, only: Literal["", "stop", "verify"] = "", wait: bool = True) -> None:
    """Start a supervisor in its own session and return once it has taken the run over, or has ended already; at once without `wait`.

    `only` tells it to just stop a trainer whose supervisor died, or to just verify what one left. Raises LaunchError when it does not come up.
    """
    argv = [sys.executable, "-m", "fluxgym.launch.supervisor", str(run.folder), *([f"--only-{only}"] if only else [])]
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


def _wait_until_it_watches(run: RunPaths, order: LaunchOrder, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if _has_taken_over(run, order, process.pid):
            return
        if process.poll() is not None:
            if process.returncode == 0:
                return
            raise LaunchError(f"The supervisor did not start: {' '.join(tail(run.monitor_log, 1)) or 'its log is empty'}")
        time.sleep(POLL_S)
    process.kill()
    raise LaunchError(f"The supervisor did not start within {START_TIMEOUT_S:.0f} seconds; the machine may be overloaded, try again.")


def _has_taken_over(run: RunPaths, order: LaunchOrder, pid: int) -> bool:
    record = read_record(run)
    if record is None or record.supervisor is None or record.supervisor.pid != pid:
        return False
    return (record.run_id, record.attempt) == (order.run_id, order.attempt)
