"""Entry point of the process beside each run: `python -m fluxgym.supervisor FOLDER [--only-stop | --only-verify]`."""

import logging
import signal
import sys
import time
from pathlib import Path

from fluxgym.errors import StorageError
from fluxgym.runs.exit_record import reserve_exit_record
from fluxgym.runs.launch_spec import read_launch_spec, read_own_launch_spec, reserve_stop_request
from fluxgym.runs.locks import try_lock
from fluxgym.runs.paths import RunPaths
from fluxgym.supervisor.attempt import record_processes
from fluxgym.supervisor.lease_keeper import LeaseKeeper
from fluxgym.supervisor.process_tree import become_subreaper
from fluxgym.supervisor.supervisor import Supervisor

STOP_OPTION = "--only-stop"
log = logging.getLogger("fluxgym.supervisor")


def main(argv: list[str]) -> int:
    """Supervise the run in a folder, unless another supervisor does; returns the exit code."""
    run = RunPaths(Path(argv[0]).resolve())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _ignore)
    options = argv[1:]
    spec = read_launch_spec(run) if options else read_own_launch_spec(run)  # only a full run executes the command in the file
    if spec is None:
        log.error("%s is missing, damaged or not of this installation, so nothing is started; restart the app", run.launch.name)
        return 1
    lock = try_lock(run.supervisor_lock)
    if lock is None:
        log.error("another supervisor watches this run already")
        return 1
    with lock:
        become_subreaper()
        try:
            lease = LeaseKeeper.adopt(run.lease) if STOP_OPTION in options else LeaseKeeper.take(run.lease)
        except StorageError as error:
            log.error("%s", error)
            return 1
        return _run(Supervisor(run, spec, lease), options)


def _ignore(number: int, frame: object) -> None:
    """Survive the signals that end the app or the terminal. A handler, since the trainer would inherit SIG_IGN."""


def _run(supervisor: Supervisor, options: list[str]) -> int:
    """Perform the action of the options; a run whose processes cannot be recorded is not started."""
    if STOP_OPTION in options:
        supervisor.guard(supervisor.stop_abandoned_trainer)
        return 0
    if "--only-verify" in options:
        supervisor.guard(supervisor.verify)
        return 0
    try:
        record_processes(supervisor.run, supervisor.spec, None, started_at=time.time())
    except StorageError as error:
        log.error("%s", error)
        return 1
    reserve_exit_record(supervisor.run)
    reserve_stop_request(supervisor.run)
    supervisor.guard(supervisor.supervise)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
