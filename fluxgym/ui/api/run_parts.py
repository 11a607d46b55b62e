"""The parts of a run's page that are read from its folder, as the page shows them: summary, LoRA files, settings, monitor and history."""

from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from fluxgym.contract.codes import Status
from fluxgym.dataset.folder import ImageFolder
from fluxgym.engines.registry import observe_run
from fluxgym.errors import FluxGymError
from fluxgym.models.catalog import get_model
from fluxgym.runs.checkpoints import list_complete
from fluxgym.runs.exit_record import read_exit
from fluxgym.runs.log_tail import tail
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.runs.state import State, name_of, read_state_or_empty
from fluxgym.runs.status import is_monitored
from fluxgym.sessions import history
from fluxgym.sessions.listing import Session
from fluxgym.sessions.origin import parent_of
from fluxgym.sessions.run_dates import first_start
from fluxgym.sessions.run_metrics import TrainingRecord, total_s
from fluxgym.sessions.saved_loras import SavedLora, best_lora, saved_loras
from fluxgym.sessions.settings_view import SettingChange, label_of, model_title, shown_text, view_settings
from fluxgym.trainers.base import backend_of
from fluxgym.ui.api.run_answers import ChangedValue, HistoryVersion, LoraFile, LoraFiles, MonitorState, RunSummary, SettingRow

MONITOR_LINES = 12
WAITED_S = 60.0


def run_summary(run: RunPaths, state: State, record: TrainingRecord, models: Path, *, session: Session) -> RunSummary:
    """Return what a run trains and how long it took."""
    started_at, queued_at = first_start(RunSnapshot(run, state)), session.started
    parent = parent_of(run, state)
    return RunSummary(
        model=model_title(str(state.get("base_model") or ""), models),
        use=_programs(state, models),
        trigger=str(state.get("concept_sentence") or ""),
        num_images=_num_images(run),
        queued_at=queued_at if started_at is not None and started_at - queued_at > WAITED_S else None,
        trained_s=total_s(record.spans, read_exit(run)),
        parent=parent,
        parent_name=name_of(OutputsPaths(run.folder.parent).run(parent)) if parent else "",
        can_train_further=session.status is Status.COMPLETED and bool(list_complete(run, backend_of(run))),
    )


def _programs(state: State, models: Path) -> str:
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
    """Return the LoRA files, the trained model first, then from the latest to the earliest; of a completed run also the best one."""
    loras = saved_loras(run, record, status=status)
    best = best_lora(loras) if status is Status.COMPLETED else None
    return LoraFiles(files=[_lora_file(run, lora) for lora in loras], best=best.path.name if best else None, why=_reason_for_best(best))


def _lora_file(run: RunPaths, lora: SavedLora) -> LoraFile:
    return LoraFile(
        name=lora.path.name,
        path=str(lora.path.absolute()),
        url=f"runs/{quote(run.slug)}/loras/{quote(lora.path.name)}",
        size=size_text(lora.num_bytes),
        is_final=lora.is_final,
        epoch=lora.epoch,
        step=lora.step,
        val_loss=lora.val_loss,
        checkpoint=lora.checkpoint,
    )


def size_text(num_bytes: int) -> str:
    """Return a file's size in MB = 10^6 bytes."""
    size = num_bytes / 1e6
    return f"{size:.0f} MB" if size >= 10 else f"{size:.1f} MB"


def _reason_for_best(best: SavedLora | None) -> str:
    if best is None:
        return ""
    if best.val_loss is not None:
        return f"Its validation loss of {best.val_loss:.3f} is the lowest of this run’s files."
    return "This is the last epoch. To compare epochs, hold out some images: add validation_split = 0.1 to “Other flags of the trainer” in Advanced."


def setting_rows(run: RunPaths, state: State, models: Path) -> list[SettingRow]:
    """Return a run's settings; one that differs from its model's default, or from its parent, names the other value."""
    return [SettingRow(**vars(row)) for row in view_settings(state, parent_state(run, state), models)]


def parent_state(run: RunPaths, state: State) -> State | None:
    """Return the settings of the run that a run is a copy of, None if it is not a copy or that run is gone."""
    slug = parent_of(run, state)
    try:
        parent = read_state_or_empty(OutputsPaths(run.folder.parent).run(slug)) if slug else {}
    except FluxGymError:
        return None
    return parent or None


def monitor_state(run: RunPaths) -> MonitorState:
    """Return the supervisor's liveness and PID, and the last lines of monitor.log."""
    snapshot = RunSnapshot(run, {})
    engine_state = observe_run(snapshot)
    pid = snapshot.monitor_pid if is_monitored(snapshot, engine_state) else None
    return MonitorState(is_alive=engine_state.is_supervised, pid=pid, lines=tail(run.monitor_log, MONITOR_LINES))


def history_versions(run: RunPaths, state: State, models: Path, *, status: Status) -> list[HistoryVersion]:
    """Return the earlier settings of a run, newest first, each with what replaced it; those that differ from the current ones can be restored."""
    versions = history.versions(run)
    can_restore = bool(versions) and history.can_restore(run, status)
    return [
        HistoryVersion(
            id=version.id,
            kept_at=version.kept_at,
            changes=changed_values(history.restorable_changes(version.state, after), models),
            resumed_after=history.resumed_after(version, after),
            can_restore=can_restore and bool(history.restorable_changes(version.state, state)),
        )
        for version, after in zip(versions, history.later_states(versions, state), strict=True)
    ]


def changed_values(changes: Iterable[SettingChange], models: Path) -> list[ChangedValue]:
    """Return the settings in which two states differ, with the labels of the form."""
    return [
        ChangedValue(
            label=label_of(change.name),
            before=shown_text(change.name, change.before, models),
            after=shown_text(change.name, change.after, models),
        )
        for change in changes
    ]
