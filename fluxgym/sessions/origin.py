"""Where a run comes from: trained here, or a copy or an import that was not started here yet."""

from enum import StrEnum
from pathlib import Path
from typing import Any

from fluxgym.contract.codes import Status
from fluxgym.contract.progress import is_number
from fluxgym.errors import FluxGymError
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.state import State, read_state_or_empty

IMPORTED = "Imported; it was not trained here."


NOT_TRAINED_HERE = "It was not trained here."  # beside the word “Imported”


class Origin(StrEnum):
    """What a run is on this machine."""

    TRAINED = "trained"  # started here, whether or not it has trained anything
    COPY = "copy"
    IMPORT = "import"


def origin_of(run: RunPaths, state: State) -> Origin:
    """Return the origin of a run; a copy or an import that was started is Origin.TRAINED."""
    parent = parent_record(state)
    if parent is None or run.launch.exists() or run.training_log.exists():
        return Origin.TRAINED
    return Origin.IMPORT if _is_imported(state) else Origin.COPY


def _is_imported(state: State) -> bool:
    """Return True if a run was imported; earlier versions recorded only the reason."""
    parent = parent_record(state)
    return parent is not None and ("imported_at" in parent or state.get("reason") == IMPORTED)


def is_replaced_by_start(run: RunPaths, state: State) -> bool:
    """Return True if the first start of a copy or an import replaces it without a question: it has nothing that a training would have left."""
    return origin_of(run, state) is not Origin.TRAINED and not (run.progress.exists() or run.lora.exists())


def is_unstarted(status: Status, origin: Origin) -> bool:
    """Return True if a run of this status and origin is a copy or an import that was not started here."""
    return origin is not Origin.TRAINED and status is Status.STOPPED


def imported_at(state: State) -> float | None:
    """Return when a run was imported, in seconds since the epoch; None if its state does not record it."""
    parent = parent_record(state)
    return None if parent is None else _time(parent.get("imported_at"))


def trained_elsewhere_at(state: State) -> float | None:
    """Return when the training of an imported run was completed, in seconds since the epoch; None if its state does not record it."""
    parent = parent_record(state)
    return None if parent is None else _time(parent.get("trained_at"))


def adopted_at(state: State) -> float | None:
    """Return when a run was adopted from another FluxGym's folder, in seconds since the epoch; None if its state does not record it."""
    return _time(state.get("adopted_at"))


def _time(value: Any) -> float | None:
    return float(value) if is_number(value) and 0 < value < 1e11 else None


def parent_record(state: State) -> dict[str, Any] | None:
    """Return the record in a state of the run that a copy or an import was made from, None if there is none."""
    parent = state.get("parent")
    return parent if isinstance(parent, dict) else None


def parent_of(run: RunPaths, state: State) -> str:
    """Return the slug of the run that a copy was made from, "" if there is none.

    An import names the run that was exported, which another machine may have; it counts only if it is in this outputs folder.
    """
    parent = parent_record(state) or {}
    slug = parent.get("slug")
    if not isinstance(slug, str) or slug == run.slug:
        return ""
    return slug if not _is_imported(state) or _holds_start(run.folder.parent, slug, parent.get("run_id")) else ""


def _holds_start(outputs: Path, slug: str, run_id: object) -> bool:
    """Return True if a run of this slug is the start of this run_id."""
    try:
        return isinstance(run_id, str) and read_state_or_empty(OutputsPaths(outputs).run(slug)).get("run_id") == run_id
    except FluxGymError:
        return False
