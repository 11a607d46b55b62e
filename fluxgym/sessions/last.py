"""Which run the form shows when a page is opened: the one this browser looked at last, else the newest."""

from fluxgym.errors import FluxGymError
from fluxgym.run.paths import OutputsPaths, RunPaths
from fluxgym.run.status import Status
from fluxgym.sessions.index import SessionIndex


def last_session(outputs: OutputsPaths, index: SessionIndex, viewed: str | None = None) -> RunPaths | None:
    """Return the run to show, None when there is none that can be read."""
    if viewed:
        try:
            run = outputs.run(viewed)
        except FluxGymError:
            run = None
        if run is not None and run.ui_state.is_file():
            return run
    return next((outputs.run(entry.slug) for entry in index.look() if entry.status is not Status.UNREADABLE), None)
