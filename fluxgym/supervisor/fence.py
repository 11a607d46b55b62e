"""Fences a trainer that does not check the lease on its folder itself, such as a kohya checkout's.

The supervisor checks the lease for such a trainer, but the trainer may outlive the supervisor. This process outlives it, too: it kills
the trainer when another start has taken the folder, and ends with the trainer.
"""

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

from fluxgym.contract.lease import has_lost
from fluxgym.runs.detached import start_detached
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.process_identity import identify
from fluxgym.supervisor.process_tree import kill_group
from fluxgym.supervisor.trainer_process import AdoptedTrainer

CHECK_S = 2.0
log = logging.getLogger("fluxgym.supervisor")


def start_fence(run: RunPaths, run_id: str, pid: int, holder: str) -> subprocess.Popen[bytes] | None:
    """Start this process for a trainer that runs under a holder's lease; returns None and logs it if it cannot be started."""
    try:
        return start_detached([sys.executable, "-m", "fluxgym.supervisor.fence", str(run.folder), run_id, str(pid), holder])
    except OSError as error:
        log.error("the trainer would not be ended if another host took over the run: %s", error)
        return None


def fence(run: RunPaths, trainer: AdoptedTrainer, holder: str) -> None:
    """Kill a trainer's process group when another start has taken the folder; returns when the trainer has ended."""
    while trainer.poll() is None:
        if has_lost(run.lease, holder):
            kill_group(trainer)
        time.sleep(CHECK_S)


def main(folder: str, run_id: str, pid: str, holder: str) -> int:
    """Watch the trainer with this PID, if it is alive."""
    identity = identify(int(pid), run_id)
    if identity is not None and os.getpgid(identity.pid) == identity.pid:
        fence(RunPaths(Path(folder)), AdoptedTrainer(identity), holder)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
