"""Runs in a separate PID namespace: gives the PID of a dead trainer to another group's leader while a deaf daemon of the trainer is being ended.

Every second trainer is one that the supervisor started; the others are adopted, so that their PID is free as soon as they have ended.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from fluxgym.runs.launch_spec import LaunchSpec
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.process_identity import identify, start_ticks
from fluxgym.supervisor import process_tree
from fluxgym.supervisor.trainer_process import AdoptedTrainer, StartedTrainer, start_trainer
from tests.faults.reuse import LAST_PID, TICK_S
from tests.support.runs import wait_for

DEAF = "import os, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); os.setsid(); open(sys.argv[1], 'w'); time.sleep(60)"
TRAINER = f"""
import os, subprocess, sys, time
subprocess.Popen([sys.executable, '-c', {DEAF!r}, sys.argv[1] + '/daemon'])
while not os.path.exists(sys.argv[1] + '/daemon') or not os.path.exists(sys.argv[1] + '/end'): time.sleep(0.01)
"""


def start(folder: Path) -> StartedTrainer:
    """Start a trainer that leaves a daemon which ignores SIGTERM; it ends when the folder has the file `end`."""
    spec = LaunchSpec(run_id="id-cat", attempt=1, trainer_dir=str(folder), argv=(sys.executable, "-c", TRAINER, str(folder)))
    return start_trainer(RunPaths(folder), spec, SimpleNamespace(env={}, file_descriptors=()))


def supervise(folder: Path, adopted_pid: int | None) -> None:
    """End what a trainer leaves, as a supervisor does, after its PID had the time to be given to another process."""
    trainer = start(folder) if adopted_pid is None else AdoptedTrainer(identify(adopted_pid, "id-cat"))
    (folder / "pid").write_text(f"{trainer.pid}.")
    trainer.poll()
    (folder / "end").touch()
    wait_for(lambda: trainer.poll() is not None)
    (folder / "ended").touch()
    wait_for((folder / "reused").exists)
    process_tree.GROUP_END_S = 1.0
    process_tree.terminate_process_tree(trainer, RunPaths(folder), "id-cat", kill=False)


def attempt(folder: Path, *, is_adopted: bool) -> tuple[bool, bool]:
    """Return if the PID was given to another group's leader, and if that one is alive afterwards and the daemon is not."""
    folder.mkdir()
    adopted = start(folder) if is_adopted else None
    time.sleep(TICK_S)
    supervisor = os.fork()
    if not supervisor:
        supervise(folder, adopted.pid if adopted is not None else None)
        os._exit(0)
    wait_for((folder / "ended").exists)
    if adopted is not None:
        adopted.release()
    pid = int((folder / "pid").read_text()[:-1])
    LAST_PID.write_text(str(pid - 1))
    other = subprocess.Popen(["sleep", "100"], start_new_session=True)
    (folder / "reused").touch()
    status = os.waitpid(supervisor, 0)[1]
    untouched = other.poll() is None
    other.kill()
    other.wait()
    return other.pid == pid, untouched and status == 0 and not daemons(folder)


def daemons(folder: Path) -> list[int]:
    """Return the processes that have the folder's daemon in their command line."""
    word = os.fsencode(folder / "daemon")
    found = [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/cmdline") if word in path.read_bytes().split(b"\0")]
    return [pid for pid in found if start_ticks(pid) is not None]


def main(folder: Path, count: int) -> None:
    """Try `count` times and print how often it was tried, and how often nothing else was signaled."""
    tries = [attempt(folder / f"{number}", is_adopted=bool(number % 2)) for number in range(count)]
    held = sum(is_held for _, is_held in tries)
    reused = [was_reused for was_reused, _ in tries]
    print(count, held if reused == [bool(number % 2) for number in range(count)] else 0)  # a started trainer keeps its PID


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
