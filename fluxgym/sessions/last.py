"""Which run the form shows when a page is opened: the one this browser looked at last, else the newest."""

from pathlib import Path

from fluxgym.errors import FluxGymError
from fluxgym.run.paths import OutputsPaths, RunPaths
from fluxgym.run.status import Status
from fluxgym.sessions.listing import list_sessions


def last_session(outputs: Path, viewed: str | None = None) -> RunPaths | None:
    """Return the run to show, None when there is none that can be read."""
    paths = OutputsPaths(outputs)
    if viewed:
        try:
            run = paths.run(viewed)
        except FluxGymError:
            run = None
        if run is not None and run.ui_state.is_file():
            return run
    return next((paths.run(session.slug) for session in list_sessions(outputs) if session.status is not Status.UNREADABLE), None)
