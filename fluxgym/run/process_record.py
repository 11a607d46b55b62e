"""process.json: which processes belong to a run's attempt. Written by the supervisor, read by everybody."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from fluxgym.run.atomic import open_regular, read_json, write_json
from fluxgym.run.identity import ProcessIdentity
from fluxgym.run.paths import RunPaths


@dataclass(frozen=True, kw_only=True)
class ProcessRecord:
    """The processes of one attempt; `trainer` is None before it is started."""

    run_id: str
    attempt: int
    started_at: float
    supervisor: ProcessIdentity | None
    trainer: ProcessIdentity | None


def read_record(run: RunPaths) -> ProcessRecord | None:
    """Return the record of the run's latest attempt, None when there is none that can be read."""
    value = read_json(run.process)
    try:
        if _is_copy(run, str(value.get("folder") or run.folder)):
            return None  # the processes are the original's
        return ProcessRecord(
            run_id=str(value["run_id"]),
            attempt=int(value["attempt"]),
            started_at=float(value["started_at"]),
            supervisor=ProcessIdentity.from_json(value.get("supervisor")),
            trainer=ProcessIdentity.from_json(value.get("trainer")),
        )
    except (OSError, KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return None


def _is_copy(run: RunPaths, recorded: str) -> bool:
    """Say whether a record came here with a copy of a run's folder: the recorded one still stands and is another. A moved folder is none."""
    return recorded != str(run.folder) and os.path.isdir(recorded) and not os.path.samefile(recorded, run.folder)  # noqa: PTH112, PTH121


def write_record(
    run: RunPaths, run_id: str, attempt: int, supervisor: ProcessIdentity | None, trainer: ProcessIdentity | None, started_at: float = 0.0
) -> None:
    """Replace the record."""
    identities = {"supervisor": supervisor, "trainer": trainer}
    known = {name: None if identity is None else identity.to_json() for name, identity in identities.items()}
    facts = {"run_id": run_id, "attempt": attempt, "started_at": started_at or time.time(), "folder": str(run.folder)}
    write_json(run.process, facts | known)


def read_pid(path: Path) -> int | None:
    """Return the integer in a PID file, None when it is missing or holds something else."""
    try:
        with open_regular(path) as file:
            return int(file.read(64))
    except (OSError, ValueError):
        return None
