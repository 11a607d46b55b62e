"""Stop: the wish is left with the supervisor and the caller is free again."""

from fluxgym.engines.local import request_stop
from fluxgym.errors import SessionError
from fluxgym.runs.paths import RunPaths


def stop(run: RunPaths, *, now: bool = False) -> None:
    """Ask a run to save its state and end, with `now` to end at once. Raises SessionError when it is not running."""
    if not request_stop(run, now=now):
        raise SessionError(f"{run.slug} is not running, so there is nothing to stop.")
