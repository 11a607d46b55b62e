"""Start a supervisor for a run's folder, and describe how its start went."""

import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from fluxgym.contract.regular_files import append_regular
from fluxgym.engines.base import Mode
from fluxgym.runs.detached import start_detached
from fluxgym.runs.log_tail import tail
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.process_identity import LocalProcess, identify, is_frozen, local_process, signal_process
from fluxgym.runs.storage_errors import storage_error

START_TIMEOUT_S = 30.0


@dataclass(frozen=True, kw_only=True)
class StartedSupervisor:
    """A supervisor from its start until it has recorded itself or has ended. log_size is that of monitor.log before, in bytes."""

    run: RunPaths
    process: subprocess.Popen[bytes]
    identity: LocalProcess | None
    log_size: int
    started_at: float = field(default_factory=time.monotonic)

    @property
    def is_late(self) -> bool:
        """True if it should have recorded itself by now."""
        return time.monotonic() - self.started_at > START_TIMEOUT_S

    def error(self) -> str:
        """Return why it has ended: the last line that it wrote into its log."""
        written = " ".join(tail(self.run.monitor_log, 1, start=self.log_size))
        return written or f"it ended with code {self.process.returncode} and wrote nothing into its log"

    def kill(self) -> str:
        """Kill it because it is late; return a clause for a message: its PID, and if it was frozen."""
        known = identify(self.process.pid, "")
        state = "was frozen" if known is not None and is_frozen(known) else "did not answer"
        if self.identity is not None:
            signal_process(self.identity, signal.SIGKILL)
        return f"(PID {self.process.pid}) {state} for {START_TIMEOUT_S:.0f} seconds"


def start_supervisor(run: RunPaths, mode: Mode, *, environment: Mapping[str, str] | None = None) -> StartedSupervisor:
    """Start a supervisor, whose output goes to monitor.log; its environment is that of this process if none is given.

    Raises:
        StorageError: If monitor.log cannot be used.
        OSError: If no process can be started.
    """
    options = [] if mode is Mode.TRAIN else [f"--only-{mode}"]
    try:
        output = append_regular(run.monitor_log)
    except OSError as error:
        raise storage_error(error, run.monitor_log) from error
    with output:
        log_size = output.seek(0, 2)
        process = start_detached([sys.executable, "-m", "fluxgym.supervisor", str(run.folder), *options], output, environment=environment)
    return StartedSupervisor(run=run, process=process, identity=local_process(process.pid), log_size=log_size)
