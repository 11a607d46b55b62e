"""How a run's status is shown: its word and its symbol."""

from collections.abc import Mapping

from fluxgym.contract.codes import LIVE, Status
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.status import SYMBOLS
from fluxgym.sessions.origin import Origin, is_unstarted

STATUS_WORDS: Mapping[Status, str] = {
    Status.RUNNING: "Running", Status.STARTING: "Starting", Status.QUEUED: "Queued", Status.STOPPED: "Stopped",
    Status.COMPLETED: "Completed", Status.FAILED: "Failed", Status.UNREADABLE: "Cannot be read",
}  # fmt: skip
UNSTARTED_WORDS: Mapping[Origin, str] = {Origin.COPY: "Not started", Origin.IMPORT: "Imported"}
STOPPING = "Stopping"


def status_word(status: Status, origin: Origin, *, is_stopping: bool) -> str:
    """Return the word for a status; a copy or an import that was not started is neither stopped nor completed."""
    if is_stopping:
        return STOPPING
    return UNSTARTED_WORDS[origin] if is_unstarted(status, origin) else STATUS_WORDS[status]


def status_symbol(status: Status, *, is_stopping: bool) -> str:
    """Return the guide's symbol for a status."""
    return SYMBOLS[Status.STARTING if is_stopping else status]


def is_stopping(run: RunPaths, status: Status) -> bool:
    """Return True if a run that lives has a stop request."""
    return status in LIVE and run.stop.exists()
