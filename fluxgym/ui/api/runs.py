"""Route of a run's page: the session, and those parts of curve, samples, log and files that changed since the last request."""

import json
import re
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter

from fluxgym.app_settings import Settings
from fluxgym.config.settings import SETTINGS
from fluxgym.engines.registry import is_supervised
from fluxgym.errors import FluxGymError, UnreadableState
from fluxgym.runs.files import open_regular, tail
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.process_identity import read_pid
from fluxgym.runs.state import read_state
from fluxgym.sessions.listing import session_of
from fluxgym.ui.api.answers import LogPart, LoraFile, MonitorState, RunChanges, SampleImage, SampleRow, SettingRow
from fluxgym.ui.api.loss_curve import Curves
from fluxgym.ui.api.responses import JsonObject, fingerprint, new_router
from fluxgym.ui.api.sessions import SessionRoutes
from fluxgym.ui.form_values import DEFAULTS

LOG_BYTES = 65_536
MONITOR_LINES = 12
SAMPLE = re.compile(r"_(?:e(?P<epoch>\d{6})|(?P<step>\d{6,}))_(?P<prompt>\d{2,})_(?P<moment>\d{14})(?:_(?P<seed>\d+))?\.png$")
LORA = re.compile(r"-(?:(?P<epoch>\d{6})|step(?P<step>\d{8}))\.safetensors$")
MISSING = RunChanges(is_missing=True)


class RunRoutes:
    """Route of a run's page."""

    def __init__(self, settings: Settings, sessions: SessionRoutes) -> None:
        self._outputs = OutputsPaths(settings.outputs)
        self._sessions = sessions
        self._curves = Curves()

    @property
    def router(self) -> APIRouter:
        """The route, to be included in the application."""
        router = new_router()
        router.add_api_route("/runs/{slug}", self.changes, response_model=RunChanges)
        return router

    def changes(self, slug: str, seen: str = "") -> RunChanges:
        """Return the parts of a run that changed since the answer that `seen` is from."""
        known = _known(seen)
        try:
            run = self._outputs.run(slug)
        except FluxGymError:
            return MISSING
        session = session_of(run)
        if session is None:
            return MISSING
        parts: dict[str, Any] = {
            "session": self._sessions.row(session),
            "samples": samples(run),
            "files": lora_files(run),
            "settings": setting_rows(run),
            "monitor": monitor(run),
        }
        versions = {name: fingerprint(_as_json(part)) for name, part in parts.items()}
        changed = {name: part for name, part in parts.items() if versions[name] != known.get(name)}
        log, log_seen = _log(run.training_log, known.get("log"))
        curve, curve_seen = self._curves.changes(run.progress, known.get("curve"))
        return RunChanges(seen=json.dumps(versions | {"log": log_seen, "curve": curve_seen}), log=log, curve=curve, **changed)


def _known(seen: str) -> JsonObject:
    """Return what the page has already; the page sends back what an answer told it."""
    try:
        known = json.loads(seen or "{}")
    except (ValueError, RecursionError):
        return {}
    return known if isinstance(known, dict) else {}


def _as_json(part: Any) -> Any:
    if isinstance(part, list):
        return [asdict(item) for item in part]
    return asdict(part) if is_dataclass(part) and not isinstance(part, type) else part


def _log(path: Path, seen: Any) -> tuple[LogPart | None, list[int]]:
    """Return the text that was appended to a log since seen, and the new [inode, offset]. An incomplete UTF-8 character is read next time."""
    try:
        with open_regular(path) as file:
            status = path.stat()
            known = isinstance(seen, list) and len(seen) == 2 and seen[0] == status.st_ino and isinstance(seen[1], int)
            start = seen[1] if known and 0 <= seen[1] <= status.st_size else -1
            again = start < 0 or status.st_size - start > LOG_BYTES
            file.seek(max(0, status.st_size - LOG_BYTES) if again else start)
            data = file.read(LOG_BYTES)
            end = file.tell()
    except OSError:
        return (LogPart(text="", replace=True) if seen else None), []
    if again and end > LOG_BYTES:
        data = data.partition(b"\n")[2]
    kept = _complete_utf8(data)
    if not kept and not again:
        return None, [status.st_ino, end - len(data)]
    return LogPart(text=kept.decode("utf-8", "replace"), replace=again), [status.st_ino, end - (len(data) - len(kept))]


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


def samples(run: RunPaths) -> list[SampleRow]:
    """Return the sample images, grouped by the step or epoch that they were generated at, the latest first."""
    prompts = _lines(run.sample_prompts)
    rows: dict[tuple[int, int], SampleRow] = {}
    for path in sorted(run.samples.glob("*.png")):
        found = SAMPLE.search(path.name)
        if found is None:
            continue
        epoch, step, index = int(found["epoch"] or 0), int(found["step"] or 0), int(found["prompt"])
        label = f"epoch {epoch}" if found["epoch"] else f"step {step}"
        row = rows.setdefault((epoch, step), SampleRow(label=label, images=[]))
        prompt = prompts[index].partition(" --")[0] if index < len(prompts) else f"prompt {index + 1}"
        row.images.append(SampleImage(url=f"runs/{quote(run.slug)}/samples/{quote(path.name)}", prompt=prompt))
    return [rows[key] for key in sorted(rows, reverse=True)]


def _lines(path: Path) -> list[str]:
    """Return a prompt file's lines as the trainer numbers them: without empty lines and comments."""
    try:
        with open_regular(path) as file:
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def monitor(run: RunPaths) -> MonitorState:
    """Return the supervisor's liveness and PID, and the last lines of monitor.log."""
    alive = is_supervised(run)
    return MonitorState(is_alive=alive, pid=read_pid(run.monitor_pid) if alive else None, lines=tail(run.monitor_log, MONITOR_LINES))


def lora_files(run: RunPaths) -> list[LoraFile]:
    """Return the LoRA files with their sizes, the final one first."""
    files = []
    for path in reversed(run.lora_files()):
        try:
            size = path.stat().st_size
        except OSError:
            continue
        address = f"runs/{quote(run.slug)}/loras/{quote(path.name)}"
        files.append(LoraFile(name=path.name, url=address, size=f"{size / 1e6:.1f} MB", note=_note(run, path)))
    return files


def _note(run: RunPaths, path: Path) -> str:
    found = LORA.search(path.name)
    if path == run.lora or found is None:
        return "the trained model" if path == run.lora else ""
    return f"epoch {int(found['epoch'])}" if found["epoch"] else f"step {int(found['step'])}"


def setting_rows(run: RunPaths) -> list[SettingRow]:
    """Return the run's settings; one that differs from FluxGym's default names the default."""
    try:
        state = read_state(run)
    except UnreadableState:
        return []
    rows = [_setting(SETTINGS[name].label, state[name], DEFAULTS[name]) for name in SETTINGS if name in DEFAULTS and name in state]
    advanced = state.get("advanced")
    more = advanced.items() if isinstance(advanced, dict) else ()
    return rows + [_setting(SETTINGS[name].label if name in SETTINGS else name, value, "") for name, value in more]


def _setting(label: str, value: Any, default: Any) -> SettingRow:
    is_own = value not in (default, "") and str(default) != ""
    return SettingRow(label=label, value=_shown(value), default=_shown(default) if is_own else None)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
