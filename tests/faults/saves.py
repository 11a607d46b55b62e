"""Runs as a separate process: kills children while they write and remove checkpoints. A fork has torch already, which takes seconds to import."""

import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

from fluxgym.contract.files import PARTIAL_ENDING, STATE_ENDING
from fluxgym.runs.checkpoints import list_complete
from fluxgym.runs.paths import RunPaths
from fluxgym.trainers.builtin import BuiltinBackend
from library.training.checkpoint import is_complete
from tests.faults.resume import Checkpoints
from tests.support.runs import make_run

MAX_S = 0.08  # several checkpoints


def attempt(run: RunPaths, checkpoints: Checkpoints, dice: random.Random) -> bool:
    """Kill a child that saves at a random moment; return True if the app lists the newest checkpoint first, and only complete ones.

    A folder with a checkpoint's final name may only be incomplete while it is being removed, as an older one.
    """
    checkpoints.write_and_remove(1)
    child = os.fork()
    if not child:
        step = 1
        while True:
            step += 1
            checkpoints.write_and_remove(step)
    time.sleep(dice.uniform(0, MAX_S))  # the moment is the fault
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    folders = sorted(path for path in run.folder.iterdir() if STATE_ENDING in path.name)
    newest = [path for path in folders if not path.name.endswith(PARTIAL_ENDING)][-1]
    listed = list_complete(run, BuiltinBackend())
    held = bool(listed) and listed[0].folder == newest and all(is_complete(each.folder) for each in listed)
    for path in folders:
        shutil.rmtree(path)
    return held


def main(folder: Path, count: int, seed: int) -> None:
    """Try `count` times and print how often it was tried and how often everything held."""
    run = make_run(folder, "cat", status="stopped")
    checkpoints = Checkpoints(run)
    held = sum(attempt(run, checkpoints, random.Random(f"{seed}-{number}")) for number in range(count))
    print(count, held)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
