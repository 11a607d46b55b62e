"""exit.json: how an attempt ended, written by the supervisor before it changes the state."""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from fluxgym.contract.codes import ENDED, Status
from fluxgym.contract.progress import is_number
from fluxgym.errors import StorageError
from fluxgym.runs.atomic_files import read_json, write_json
from fluxgym.runs.disk_space import RESERVED_BYTES, reserve, write_reserved
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.state import State, update_state


@dataclass(frozen=True, kw_only=True)
class ExitRecord:
    """The end of one attempt. exit_code is None if it is unknown or if a signal ended the trainer."""

    run_id: str
    attempt: int
    status: str
    reason_code: str
    reason: str
    pid: int | None = None
    exit_code: int | None = None
    signal: str | None = None
    started_at: float | None = None
    ended_at: float | None = None
    last_step: int | None = None
    verified: dict[str, Any] = field(default_factory=dict)


def reserve_exit_record(run: RunPaths) -> None:
    """Reserve the disk space that exit.json needs."""
    reserve(run.exit_reserve)


def write_exit_record(run: RunPaths, record: ExitRecord) -> None:
    """Write exit.json; on a full disk into the reserved space.

    Raises:
        StorageError: If none was reserved.
    """
    value = {key: value for key, value in asdict(record).items() if value is not None}
    try:
        write_json(run.exit, value)
    except StorageError:
        text = json.dumps(value, ensure_ascii=False)
        if len(text.encode()) > RESERVED_BYTES:
            text = json.dumps(value | {"reason": record.reason[:500], "verified": {}}, ensure_ascii=False)
        write_reserved(run.exit_reserve, text)
    else:
        run.exit_reserve.unlink(missing_ok=True)


def end_changes(record: ExitRecord) -> State:
    """Return what the end of an attempt changes in ui_state.json; None removes a key."""
    return {
        "status": record.status,
        "reason_code": record.reason_code or None,
        "reason": record.reason or None,
        "exit_code": record.exit_code,
        "completed_at": record.ended_at if record.status == Status.COMPLETED else None,
    }


def record_end(run: RunPaths, record: ExitRecord, *, expected: State | None = None) -> bool:
    """Record the end of an attempt without a supervisor: in ui_state.json, and in exit.json as far as the disk permits.

    Nothing is recorded, and False returned, if the state has other values than the expected ones by now.

    Raises:
        StorageError: If the state cannot be written.
    """
    if not update_state(run, end_changes(record), expected=expected):
        return False
    with suppress(StorageError):  # the state is enough
        write_exit_record(run, record)
    return True


def read_exit(run: RunPaths) -> ExitRecord | None:
    """Return how the last attempt ended, None if exit.json is missing or damaged."""
    value = read_json(run.exit_reserve) or read_json(run.exit)
    try:
        record = ExitRecord(**{key: item for key, item in value.items() if key in ExitRecord.__annotations__})
    except (AttributeError, TypeError):
        return None
    return record if _is_valid(record) else None


def _is_valid(record: ExitRecord) -> bool:
    """Return True if the fields have the right types: users and other programs may have edited the file."""
    texts = (record.run_id, record.status, record.reason, record.reason_code)
    numbers = (record.attempt, record.last_step, record.started_at, record.ended_at)
    usable = all(isinstance(text, str) for text in texts) and all(number is None or is_number(number) for number in numbers)
    return usable and record.status in ENDED and isinstance(record.attempt, int)
