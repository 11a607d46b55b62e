"""Start a supervisor for a run's folder."""

import subprocess
import sys
from collections.abc import Mapping

from fluxgym.contract.regular_files import append_regular
from fluxgym.engines.base import Mode
from fluxgym.runs.detached import start_detached
from fluxgym.runs.files import storage_error
from fluxgym.runs.paths import RunPaths


def start_supervisor(run: RunPaths, mode: Mode, *, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
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
        return start_detached([sys.executable, "-m", "fluxgym.supervisor", str(run.folder), *options], output, environment=environment)
