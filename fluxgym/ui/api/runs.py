"""Route of a run's page: the session, and the parts of the page that changed since the last request."""

import json
import os
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from fastapi import APIRouter

from fluxgym.app_settings import Settings
from fluxgym.contract.codes import LIVE
from fluxgym.contract.regular_files import open_regular
from fluxgym.errors import FluxGymError
from fluxgym.runs.paths import OutputsPaths
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.sessions.known_settings import launched_settings
from fluxgym.sessions.listing import Session, read_session
from fluxgym.sessions.origin import origin_of
from fluxgym.sessions.status_display import is_stopping
from fluxgym.ui.api import run_parts
from fluxgym.ui.api.loss_curve import Curves
from fluxgym.ui.api.responses import JsonObject, fingerprint, new_router
from fluxgym.ui.api.run_answers import LogPart, RunChanges
from fluxgym.ui.api.run_outcome import run_outcome
from fluxgym.ui.api.run_samples import sample_matrix
from fluxgym.ui.api.session_rows import SessionRows

LOG_BYTES = 65_536
MISSING = RunChanges(is_missing=True)


class RunRoutes:
    """Route of a run's page."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._outputs = OutputsPaths(settings.outputs)
        self._rows = SessionRows(settings)
        self._curves = Curves()

    @property
    def router(self) -> APIRouter:
        """The route, to be included in the application."""
        router = new_router()
        router.add_api_route("/runs/{slug}", self.changes, response_model=RunChanges)
        return router

    def changes(self, slug: str, seen: str = "") -> RunChanges:
        """Return the parts of a run that changed since the answer that `seen` is from."""
        page_versions = _page_versions(seen)
        try:
            run = self._outputs.run(slug)
        except FluxGymError:
            return MISSING
        session_and_snapshot = read_session(run)
        if session_and_snapshot is None:
            return MISSING
        parts = self._parts(*session_and_snapshot)
        versions = {name: fingerprint(_as_json(part)) for name, part in parts.items()}
        changed = {name: part for name, part in parts.items() if versions[name] != page_versions.get(name)}
        log, log_seen = _log(run.training_log, page_versions.get("log"))
        curve, curve_seen = self._curves.changes(run.progress, page_versions.get("curve"))
        return RunChanges(seen=json.dumps(versions | {"log": log_seen, "curve": curve_seen}), log=log, curve=curve, **changed)

    def _parts(self, session: Session, snapshot: RunSnapshot) -> dict[str, Any]:
        """Return all parts but for log and curve, which are sent in pieces."""
        run, state = snapshot.run, snapshot.state
        trains_on = session.status in LIVE and not is_stopping(run, session.status)
        state = launched_settings(run, state) if session.status in LIVE else state
        record, models = self._curves.record(run.progress), self._settings.models
        return {
            "session": self._rows.row(session, snapshot),
            "facts": run_parts.run_summary(run, state, record, models, session=session),
            "samples": sample_matrix(run, state, record, progress=session.progress, is_live=trains_on),
            "files": run_parts.lora_files(run, record, status=session.status),
            "settings": run_parts.setting_rows(run, state, models),
            "history": run_parts.history_versions(run, state, models, status=session.status),
            "monitor": run_parts.monitor_state(run),
            "ending": run_outcome(run, session, origin_of(run, state)),
        }


def _page_versions(seen: str) -> JsonObject:
    """Return the versions of the parts that the page has, which it sends back from an earlier answer."""
    try:
        versions = json.loads(seen or "{}")
    except (ValueError, RecursionError):
        return {}
    return versions if isinstance(versions, dict) else {}


def _as_json(part: Any) -> Any:
    if isinstance(part, list):
        return [asdict(item) for item in part]
    return asdict(part) if is_dataclass(part) and not isinstance(part, type) else part


def _log(path: Path, seen: Any) -> tuple[LogPart | None, list[int]]:
    """Return the text that was appended to a log since seen, and the new [inode, offset]. An incomplete UTF-8 character is read next time."""
    try:
        with open_regular(path) as file:
            status = os.fstat(file.fileno())
            is_same_file = isinstance(seen, list) and len(seen) == 2 and seen[0] == status.st_ino and isinstance(seen[1], int)
            start = seen[1] if is_same_file and 0 <= seen[1] <= status.st_size else -1
            again = start < 0 or status.st_size - start > LOG_BYTES
            file.seek(max(0, status.st_size - LOG_BYTES) if again else start)
            data = file.read(LOG_BYTES)
            end = file.tell()
    except OSError:
        return (LogPart(text="", replace=True) if seen else None), []
    if again and end > LOG_BYTES:
        data = data.partition(b"\n")[2]
    complete = _complete_utf8(data)
    if not complete and not again:
        return None, [status.st_ino, end - len(data)]
    return LogPart(text=complete.decode("utf-8", "replace"), replace=again), [status.st_ino, end - (len(data) - len(complete))]


def _complete_utf8(data: bytes) -> bytes:
    """Remove an incomplete UTF-8 character from the end."""
    for length in range(1, min(3, len(data)) + 1):
        lead = data[-length]
        if lead >= 0xC0:
            needed = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
            return data[:-length] if needed > length else data
        if lead < 0x80:
            return data
    return data
