"""The run that a person names: by its folder, or by a LoRA name that only one run has."""

from pathlib import Path

from fluxgym.errors import SessionNotFound
from fluxgym.run.paths import OutputsPaths, RunPaths
from fluxgym.sessions.listing import list_sessions


def find_run(name: str, outputs: Path) -> RunPaths:
    """Return the run that a person names: its folder first, then a LoRA name that only one run has.

    Raises SessionNotFound saying what there is.
    """
    paths = OutputsPaths(outputs)
    try:
        run = paths.run(name)
    except SessionNotFound:
        run = None
    if run is not None and run.ui_state.is_file():
        return run
    named = sorted(session.slug for session in list_sessions(outputs) if session.lora_name == name)
    if len(named) == 1:
        return paths.run(named[0])
    if named:
        raise SessionNotFound(f"Several runs are named “{name[:80]}”: {', '.join(named)}; give the folder.")
    raise SessionNotFound(f"There is no run “{name[:80]}” in {outputs}; python -m fluxgym sessions lists what there is.")
