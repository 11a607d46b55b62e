"""Entry point of the process beside each run: `python -m fluxgym.supervisor FOLDER`."""

import logging
import signal
import sys
import time
from pathlib import Path

from fluxgym.errors import StorageError
from fluxgym.runs.exit_record import reserve_exit_record
from fluxgym.runs.files import try_lock
from fluxgym.runs.launch_spec import read_launch_spec, reserve_stop_request
from fluxgym.runs.paths import RunPaths
from fluxgym.supervisor.attempt import record
from fluxgym.supervisor.supervisor import Supervisor
from fluxgym.supervisor.trainer_process import become_subreaper

log = logging.getLogger("fluxgym.supervisor")


def _let_pass(number: int, frame: object) -> None:
    """What ends the page or the terminal must not end the watch. A handler, since the trainer would inherit SIG_IGN."""


def main(argv: list[str]) -> int:
    """Supervise the run in a folder, unless another supervisor does."""
    run = RunPaths(Path(argv[0]).resolve())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _let_pass)
    order = read_launch_spec(run)
    if order is None:
        log.error("%s cannot be read, so there is nothing to start", run.launch.name)
        return 1
    lock = try_lock(run.private / "supervisor.lock")
    if lock is None:
        log.error("another supervisor watches this run already")
        return 1
    with lock:
        become_subreaper()
        return _work(Supervisor(run, order), argv[1:])


def _work(supervisor: Supervisor, options: list[str]) -> int:
    """Do what the options say of a run; only what cannot even be recorded is not begun."""
    if "--only-stop" in options:
        supervisor.guard(supervisor.stop_abandoned_trainer)
        return 0
    if "--only-verify" in options:
        supervisor.guard(supervisor.verify)
        return 0
    try:
        record(supervisor.run, supervisor.order, None, started_at=time.time())
    except StorageError as error:
        log.error("%s", error)
        return 1
    reserve_exit_record(supervisor.run)
    reserve_stop_request(supervisor.run)
    supervisor.guard(supervisor.supervise)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
