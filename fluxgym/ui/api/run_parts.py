"""The parts of a run's page that are read from its folder: facts, LoRA files, settings, monitor and history."""

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fluxgym.config.defaults import DEFAULTS, when_empty
from fluxgym.config.settings import IN_ADVANCED, SETTINGS
from fluxgym.config.trainer_flags import all_flags
from fluxgym.contract.codes import Status
from fluxgym.contract.files import STATE_ENDING
from fluxgym.dataset.folder import ImageFolder
from fluxgym.engines.registry import observe_run
from fluxgym.errors import FluxGymError
from fluxgym.models.catalog import get_model
from fluxgym.runs.checkpoints import list_complete
from fluxgym.runs.exit_record import read_exit
from fluxgym.runs.files import is_served, tail
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.runs.state import State, read_state_or_empty
from fluxgym.runs.status import is_monitored
from fluxgym.sessions import history
from fluxgym.sessions.listing import Session
from fluxgym.sessions.origin import parent_of
from fluxgym.sessions.run_metrics import first_start, total_s
from fluxgym.trainers.base import backend_of
from fluxgym.ui.api.loss_curve import TrainingRecord
from fluxgym.ui.api.run_answers import LoraFile, LoraFiles, MonitorState, RunFacts, SettingRow
from fluxgym.ui.api.session_answers import HistoryVersion

MONITOR_LINES = 12
WAITED_S = 60.0
LORA = re.compile(r"-(?:(?P<epoch>\d{6})|step(?P<step>\d{8}))\.safetensors$")


def facts(run: RunPaths, state: State, record: TrainingRecord, models: Path, *, session: Session) -> RunFacts:
    """Return what a run trains and how long it took."""
    began_at = first_start(RunSnapshot(run, state))
    queued_at = session.started
    return RunFacts(
        model=model_title(state, models),
        use=_use(state, models),
        trigger=str(state.get("concept_sentence") or ""),
        num_images=_num_images(run),
        queued_at=queued_at if began_at is not None and began_at - queued_at > WAITED_S else None,
        began_at=began_at,
        trained_s=total_s(record.spans, read_exit(run)),
        parent=parent_of(state),
        can_train_further=session.status is Status.COMPLETED and bool(list_complete(run, backend_of(run))),
    )


def model_title(state: State, models: Path) -> str:
    """Return the short title of a run's base model, its id if the catalog does not have it."""
    model = str(state.get("base_model") or "")
    try:
        return get_model(model, models).short_title
    except FluxGymError:
        return model


def _use(state: State, models: Path) -> str:
    try:
        return get_model(str(state.get("base_model") or ""), models).use
    except FluxGymError:
        return ""


def _num_images(run: RunPaths) -> int:
    try:
        return ImageFolder(run.dataset).count()
    except FluxGymError:
        return 0


def lora_files(run: RunPaths, record: TrainingRecord, *, status: Status) -> LoraFiles:
    """Return the LoRA files, the trained model first, then from the latest to the earliest."""
    checkpoints = _checkpoints(run) if status in (Status.STOPPED, Status.FAILED) else frozenset()
    found = [file for path in run.lora_files() if (file := _lora_file(run, path, record, checkpoints)) is not None]
    if status is Status.COMPLETED:
        found = [_final(file, run, record) if file.is_final else file for file in found]
    files = sorted(found, key=lambda file: (file.is_final, file.step or 0, file.epoch or 0, file.name), reverse=True)
    best = _best(files) if status is Status.COMPLETED else None
    return LoraFiles(files=files, best=best.name if best else None, why=_why(best))


def _checkpoints(run: RunPaths) -> frozenset[str]:
    """Return the names of the complete checkpoints but for the newest, which the button Resume takes."""
    return frozenset(checkpoint.name for checkpoint in list_complete(run, backend_of(run))[1:])


def _lora_file(run: RunPaths, path: Path, record: TrainingRecord, checkpoints: frozenset[str]) -> LoraFile | None:
    try:
        size = path.stat().st_size
    except OSError:
        return None
    if not is_served(path):
        return None
    found = LORA.search(path.name) if path != run.lora else None
    epoch = int(found["epoch"]) if found and found["epoch"] else None
    step = int(found["step"]) if found and found["step"] else record.epoch_ends.get(epoch or 0)
    checkpoint = path.name.removesuffix(path.suffix) + STATE_ENDING
    return LoraFile(
        name=path.name,
        url=f"runs/{quote(run.slug)}/loras/{quote(path.name)}",
        size=size_text(size),
        is_final=path == run.lora,
        epoch=epoch,
        step=step,
        val_loss=record.validation.get(step) if step is not None else None,
        checkpoint=checkpoint if checkpoint in checkpoints else None,
    )


def size_text(num_bytes: int) -> str:
    """Return a file's size in MB = 10^6 bytes."""
    size = num_bytes / 1e6
    return f"{size:.0f} MB" if size >= 10 else f"{size:.1f} MB"


def _final(file: LoraFile, run: RunPaths, record: TrainingRecord) -> LoraFile:
    """Return the trained model's file with the last step and epoch, which its name does not hold."""
    end = read_exit(run)
    step = (end.last_step if end is not None else None) or max(record.epoch_ends.values(), default=None)
    epoch = max(record.epoch_ends, default=None)
    val_loss = record.validation.get(step) if step is not None else None
    return LoraFile(**{**vars(file), "step": step, "epoch": epoch, "val_loss": val_loss})


def _best(files: Iterable[LoraFile]) -> LoraFile | None:
    """Return the file with the lowest validation loss, of equal ones the latest; without any the trained model, else the latest file."""
    files = list(files)
    validated = [file for file in files if file.val_loss is not None and math.isfinite(file.val_loss)]
    return min(validated, key=lambda file: file.val_loss or 0.0) if validated else next(iter(files), None)


def _why(best: LoraFile | None) -> str:
    if best is None:
        return ""
    if best.val_loss is not None:
        return f"Its validation loss of {best.val_loss:.3f} is the lowest of this run’s files."
    return "This is the last epoch. The run has no validation loss to compare epochs by."


def setting_rows(state: State, parent: State | None, models: Path) -> list[SettingRow]:
    """Return a run's settings; one that differs from its model's default, or from its parent, names the other value."""
    defaults = _model_defaults(state, models)
    own, before = _flat(state), None if parent is None else _flat(parent)
    rows = []
    for name, value in own.items():
        default = defaults.get(name, _default(name))
        other = value if before is None else before.get(name, _default(name))
        rows.append(
            SettingRow(
                name=name,
                label=SETTINGS[name].label if name in SETTINGS else name,
                value=shown(value),
                default=None if name in UNCOMPARED or _is_same(value, default) else shown(default),
                parent=None if name == "lora_name" or _is_same(value, other) else shown(other),
            )
        )
    return rows


UNCOMPARED = ("lora_name", "concept_sentence", "base_model", "sample_prompts", "resume_from_checkpoint")  # they have no useful default


def parent_state(outputs: OutputsPaths, state: State) -> State | None:
    """Return the settings of the run that a run is a copy of, None if it is not a copy or that run is gone."""
    slug = parent_of(state)
    try:
        found = read_state_or_empty(outputs.run(slug)) if slug else {}
    except FluxGymError:
        return None
    return found or None


def _default(name: str) -> Any:
    """Return a setting's default: FluxGym's, for the flags in `advanced` the trainer's own."""
    if name in DEFAULTS:
        return DEFAULTS[name]
    return when_empty(name) if name in all_flags() else None


def _model_defaults(state: State, models: Path) -> dict[str, Any]:
    try:
        return _flat(get_model(str(state.get("base_model") or ""), models).defaults)
    except FluxGymError:
        return {}


def _flat(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a state by name in the order of the form, those in `advanced` beside the others."""
    advanced = state.get("advanced")
    values = {name: state[name] for name in SETTINGS if name in DEFAULTS and name in state}
    more = dict(advanced) if isinstance(advanced, Mapping) else {}
    known = [setting.name for setting in IN_ADVANCED if setting.name in more]
    return values | {name: more[name] for name in known} | more


def _is_same(value: Any, other: Any) -> bool:
    return value == other or str(value) == str(other) or (value in (None, "") and other in (None, ""))


def shown(value: Any) -> str:
    """Return a setting's value as the page shows it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return "not set" if value in (None, "") else str(value)


def monitor(run: RunPaths) -> MonitorState:
    """Return the supervisor's liveness and PID, and the last lines of monitor.log."""
    snapshot = RunSnapshot(run, {})
    engine_state = observe_run(snapshot)
    pid = snapshot.monitor_pid if is_monitored(snapshot, engine_state) else None
    return MonitorState(is_alive=engine_state.is_supervised, pid=pid, lines=tail(run.monitor_log, MONITOR_LINES))


def versions(run: RunPaths, state: State, *, status: Status) -> list[HistoryVersion]:
    """Return the earlier settings of a run, newest first, and how the current ones differ."""
    found = [(version, history.diff(version.state, state)) for version in history.versions(run)]
    can_restore = bool(found) and history.can_restore(run, status)
    return [
        HistoryVersion(id=version.id, kept_at=version.kept_at, changes=changes, can_restore=can_restore and bool(changes))
        for version, changes in found
    ]
