"""Runs as PID 1's child in a separate PID namespace: gives the PID of a dead trainer to another process, again and again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from fluxgym.errors import SessionError
from fluxgym.runs.process_identity import identify
from fluxgym.sessions.control import stop
from fluxgym.sessions.listing import session_of
from tests.support.runs import make_run, record_processes

TICK_S = 0.021
LAST_PID = Path("/proc/sys/kernel/ns_last_pid")


def main(folder: Path, count: int) -> None:
    """Try `count` times and print how often it was tried, and how often nothing was taken for the trainer, or signaled."""
    run = make_run(folder / "outputs", status="running", timestamp=1.0)
    held = tried = 0
    for number in range(count):
        trainer = subprocess.Popen(["sleep", "100"])
        record_processes(run, "id-cat", 1, None, identify(trainer.pid, "id-cat"))
        time.sleep(TICK_S)  # a trainer that lived for less than one of the kernel's ticks cannot be distinguished from the next
        run.training_pid.write_text(f"{trainer.pid}\n")
        trainer.kill()
        trainer.wait()
        LAST_PID.write_text(str(trainer.pid - 1))
        other = subprocess.Popen(["sleep", "100"])
        tried += other.pid == trainer.pid
        shown = session_of(run)
        try:
            stop(run, now=bool(number % 2))
            refused = False
        except SessionError:
            refused = True
        untouched = other.poll() is None
        held += other.pid == trainer.pid and shown is not None and str(shown.status) == "stopped" and refused and untouched
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
    print(tried, held)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
