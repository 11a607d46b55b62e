"""Runs in the queue of one outputs folder, each of which holds its device until a test releases it, and the dispatcher beside them."""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from fluxgym.contract.codes import Status
from fluxgym.engines.dispatcher_process import MODULE, DispatcherProcess
from fluxgym.engines.registry import engine_for, engine_of, status_of
from fluxgym.engines.tickets import Tickets
from fluxgym.runs.launch_spec import DeviceRequest, LaunchSpec, write_launch_spec
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.process_identity import PROC, is_alive, read_record, stat_fields
from fluxgym.runs.state import read_state
from fluxgym.sessions.control import request_stop, wait_until_ended
from tests.support.runs import PRELUDE, make_run, wait_for

HOLD = "while os.path.exists(f'{folder}/hold'): time.sleep(0.02)\nopen(f'{folder}/../order', 'a').write(name + ' ')\nprogress(4); lora()"


class Line:
    """The runs of one outputs folder."""

    def __init__(self, outputs: Path) -> None:
        self.outputs = OutputsPaths(outputs)
        self.tickets, self.engine, self.dispatcher = Tickets(self.outputs), engine_for(self.outputs), DispatcherProcess(self.outputs)

    def start(self, name: str, devices: Sequence[str] = ("cpu",), *, any_free: bool = False, run_id: str = "") -> RunPaths:
        """Start a run that uses its devices until it is released."""
        run_id = run_id or f"id-{name}"
        run = make_run(self.outputs.root, name, run_id=run_id)
        (run.folder / "hold").touch()
        argv = (sys.executable, "-c", PRELUDE + HOLD, str(run.folder), name)
        request = DeviceRequest.from_names(devices, any_free=any_free)
        spec = LaunchSpec(run_id=run_id, attempt=1, argv=argv, trainer_dir=str(run.folder), expected_steps=4, devices=request)
        write_launch_spec(run, spec)
        engine_of(run).submit(run, spec)
        return run

    def start_waiting(self, *names: str) -> list[RunPaths]:
        """Start runs for the CPU while it is in use, and wait until each has no process any more."""
        runs = [self.start(name) for name in names]
        for run in runs:
            self.wait_for(run, Status.QUEUED)
            wait_for(lambda run=run: not is_alive(read_record(run).supervisor))
        return runs

    def status(self, run: RunPaths) -> Status:
        """Return the status that is shown of a run."""
        return status_of(run, read_state(run)).status

    def reason(self, run: RunPaths) -> str:
        """Return the reason that is shown of a run."""
        return status_of(run, read_state(run)).reason

    def wait_for(self, run: RunPaths, status: Status) -> None:
        """Wait until a run is shown with a status."""
        wait_for(lambda: self.status(run) is status)

    def release(self, *runs: RunPaths) -> None:
        """Let runs end as soon as they have their device."""
        for run in runs:
            (run.folder / "hold").unlink()

    def order(self) -> list[str]:
        """Return the names of the runs that have trained, in this order."""
        return (self.outputs.root / "order").read_text().split()

    def names(self) -> list[str]:
        """Return the names of the waiting runs in the order of the queue."""
        return [ticket.slug for ticket in self.tickets.all()]

    def dispatchers(self) -> list[int]:
        """Return the PIDs of this folder's dispatchers."""
        return _processes(MODULE, str(self.outputs.root))

    def supervisors(self) -> list[int]:
        """Return the PIDs of the supervisors of this folder's runs."""
        return [pid for run in self.outputs.runs() for pid in _processes("fluxgym.supervisor", str(run.folder))]

    def signal_dispatcher(self, number: int) -> int:
        """Send the dispatcher SIGKILL, SIGSTOP or SIGCONT, wait until that is seen, and return its PID."""
        (pid,) = self.dispatchers()
        os.kill(pid, number)
        wait_for(lambda: bool(self.dispatcher.problem()) == (number != signal.SIGCONT))
        return pid

    def end(self) -> None:
        """End every run and dispatcher."""
        for run in self.outputs.runs():
            if request_stop(run, now=True):
                wait_until_ended(run)
        for pid in self.dispatchers():
            os.kill(pid, signal.SIGKILL)


def _processes(*words: str) -> list[int]:
    """Return the PIDs of the live processes with these words in their command lines."""
    found = []
    for path in PROC.glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if set(words) <= set(line) and stat_fields(int(path.parent.name)) is not None:
            found.append(int(path.parent.name))
    return found
