"""The files of a run's folder from before its trainer was started. All other files are this attempt's.

They are recorded because times do not decide it: a clock may be set back during a training, and a file server's clock may differ.
"""

from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fluxgym.errors import StorageError
from fluxgym.runs.atomic_files import read_json, write_json
from fluxgym.runs.checkpoints import CheckpointReader, list_complete
from fluxgym.runs.launch_spec import LaunchSpec
from fluxgym.runs.paths import RunPaths


@dataclass(frozen=True, kw_only=True)
class EarlierFiles:
    """The identity of the LoRA, None if there was none, and the checkpoints with the times at which they were written."""

    run_id: str
    attempt: int
    lora: list[int] | None = None
    checkpoints: dict[str, float] = field(default_factory=dict)


def note_earlier_files(run: RunPaths, spec: LaunchSpec, reader: CheckpointReader) -> None:
    """Record what is in the folder before a trainer is started. On a full disk nothing is recorded, and times are compared instead."""
    checkpoints = {found.name: found.written_at for found in list_complete(run, reader)}
    earlier = EarlierFiles(run_id=spec.run_id, attempt=spec.attempt, lora=_identity_of(run.lora), checkpoints=checkpoints)
    with suppress(StorageError):
        write_json(run.earlier, asdict(earlier))


def read_earlier_files(run: RunPaths, spec: LaunchSpec) -> EarlierFiles | None:
    """Return what was in the folder before this attempt, None if it was not recorded."""
    value: Any = read_json(run.earlier)
    try:
        earlier = EarlierFiles(**value)
    except TypeError:
        return None
    is_of_attempt = (earlier.run_id, earlier.attempt) == (spec.run_id, spec.attempt)
    return earlier if is_of_attempt and isinstance(earlier.checkpoints, dict) else None


def is_new_lora(run: RunPaths, earlier: EarlierFiles) -> bool:
    """Return True if the LoRA is another file than before, or was changed since."""
    return _identity_of(run.lora) != earlier.lora


def _identity_of(path: Path) -> list[int] | None:
    """Return numbers, at least one of which changes if a file is replaced or written to; None if there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_ino, status.st_size, status.st_mtime_ns]
