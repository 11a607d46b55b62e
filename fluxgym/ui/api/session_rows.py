"""One run as a row of the page's lists: its status in words, what its date is the time of, its figures, and its next step."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from fluxgym.app_settings import Settings
from fluxgym.contract.codes import ENDED, LIVE, Phase, Status
from fluxgym.contract.progress import is_number
from fluxgym.engines.registry import engine_of, has_process
from fluxgym.models.catalog import list_models
from fluxgym.runs.files import is_regular
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.runs.state import State, read_state_or_empty
from fluxgym.runs.status import SYMBOLS
from fluxgym.sessions.advice import EDIT_LABEL
from fluxgym.sessions.figures import figures_of, first_start
from fluxgym.sessions.listing import Session
from fluxgym.sessions.origin import Origin, imported_at, is_unstarted, origin_of, parent_of
from fluxgym.sessions.resume import needs_check, resume_preview
from fluxgym.ui.api.row_actions import ResumeOffer, RunSituation, menu_items, next_step, page_state, stop_text
from fluxgym.ui.api.session_answers import SessionRow, Shape, StatusWord, StepAction

# The word and the shape of each status.
STATUS_TEXTS: dict[Status, tuple[str, Shape]] = {
    Status.RUNNING: ("Running", "running"), Status.STARTING: ("Starting", "queued"), Status.QUEUED: ("Queued", "queued"),
    Status.STOPPED: ("Stopped", "stopped"), Status.COMPLETED: ("Completed", "done"), Status.FAILED: ("Failed", "failed"),
    Status.UNREADABLE: ("Cannot be read", "bad"),
}  # fmt: skip
STOPPING = StatusWord(word="Stopping", symbol=SYMBOLS[Status.STARTING], shape="queued")
ORIGIN_TEXTS = {
    Origin.COPY: StatusWord(word="Not started", symbol=SYMBOLS[Status.STOPPED], shape="none"),
    Origin.IMPORT: StatusWord(word="Imported", symbol=SYMBOLS[Status.STOPPED], shape="none"),
}
PHASE_TEXTS: dict[str, str] = {  # of training, a row shows the figures
    Phase.STARTING: "Loading the trainer", Phase.DOWNLOADING: "Downloading", Phase.LOADING: "Loading the model",
    Phase.CACHING: "Preparing the images", Phase.SAMPLING: "Generating samples", Phase.VALIDATING: "Validating",
    Phase.SAVING: "Saving", Phase.VERIFYING: "Checking the LoRA", Phase.DONE: "Finishing",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A time in seconds since the epoch, and what it is the time of."""

    word: str
    at: float


class SessionRows:
    """Makes the rows of one outputs folder."""

    def __init__(self, settings: Settings) -> None:
        self._outputs = OutputsPaths(settings.outputs)
        self._titles = {model.id: model.short_title for model in list_models(settings.models)}

    def row(self, session: Session) -> SessionRow:
        """Return a session as a row, with what its buttons need."""
        run = self._outputs.run(session.slug)
        state = read_state_or_empty(run)
        snapshot = RunSnapshot(run, state)
        situation = _situation(snapshot, session)
        origin, is_live, step = situation.origin, situation.is_live, next_step(situation)
        began, figures, record = began_at(snapshot, session, origin), figures_of(snapshot), snapshot.process_record
        return SessionRow(
            **vars(session) | {"started": began.at},
            began=began.word,
            shown=shown_status(session, origin, is_stopping=situation.is_stopping),
            activity=activity_of(session),
            ended=None if is_live else ended_at(snapshot),
            origin=origin,
            parent=parent_of(state) if origin is not Origin.TRAINED else "",
            model=self.model_title(str(state.get("base_model") or "")),
            total_steps=figures.total_steps,
            duration_s=None if is_live else figures.duration_s,
            attempt=record.attempt if record is not None else 1,
            attempt_started=record.started_at if record is not None and session.status is Status.RUNNING else None,
            lora=situation.lora,
            is_live=is_live,
            is_stopping=situation.is_stopping,
            next_step=step,
            stop_text=stop_text(session.progress) if step.action is StepAction.STOP else "",
            menu=menu_items(situation, step),
            edit_text=EDIT_LABEL if session.status is not Status.UNREADABLE else None,
            page_state=page_state(session.status, origin),
        )

    def model_title(self, model_id: str) -> str:
        """Return the short title of a base model, its id if the catalog does not have it."""
        return self._titles.get(model_id, model_id)


def _situation(snapshot: RunSnapshot, session: Session) -> RunSituation:
    """Return what decides which actions a run has."""
    run, is_live = snapshot.run, session.status in LIVE
    executing = not is_live and has_process(snapshot)
    return RunSituation(
        status=session.status,
        origin=origin_of(run, snapshot.state),
        is_stopping=is_live and run.stop.exists(),
        is_executing=executing,
        lora=f"runs/{quote(run.slug)}/loras/{quote(run.lora.name)}" if is_regular(run.lora) else None,
        resume=resume_offer(run) if session.status in ENDED and not executing else None,
    )


def shown_status(session: Session, origin: Origin, *, is_stopping: bool) -> StatusWord:
    """Return how the page shows a status; a copy or an import that was not started is neither stopped nor completed."""
    if is_stopping:
        return STOPPING
    if is_unstarted(session.status, origin):
        return ORIGIN_TEXTS[origin]
    word, shape = STATUS_TEXTS[session.status]
    return StatusWord(word=word, symbol=SYMBOLS[session.status], shape=shape)


def activity_of(session: Session) -> str:
    """Return what a running run does besides training: "Preparing the images, 3 of 20"; "" while it trains or if it is not running."""
    phase = str(session.progress.get("phase") or Phase.STARTING)
    item, total = session.progress.get("item"), session.progress.get("num_items")
    if session.status is not Status.RUNNING or phase == Phase.TRAINING:
        return ""
    text = PHASE_TEXTS.get(phase, phase)
    return text if item is None or total is None else f"{text}, {item} of {total}"


def began_at(snapshot: RunSnapshot, session: Session, origin: Origin) -> Moment:
    """Return the time of a row's date, and its word: a time is only called the start of a training if it is."""
    run, state = snapshot.run, snapshot.state
    if session.status is Status.UNREADABLE:
        return Moment(word="Changed", at=session.started)
    if session.status is Status.QUEUED:
        since = engine_of(run).waiting_since(run)
        return Moment(word="Queued", at=session.started if since is None else since)
    if origin is Origin.COPY:
        return Moment(word="Copied", at=session.started)
    if origin is Origin.IMPORT:
        arrived = _import_time(run, state)
        is_trained = is_regular(run.lora) and session.started < arrived - 1  # a state without a time gets the time of its import
        return Moment(word="Trained", at=session.started) if is_trained else Moment(word="Imported", at=arrived)
    first, record = first_start(snapshot), snapshot.process_record
    if first is not None and first >= session.started:
        return Moment(word="Started", at=first)
    was_started = first is not None or record is None or record.attempt > 1 or session.status in LIVE
    return Moment(word="Started" if was_started else "Queued", at=session.started)


def _import_time(run: RunPaths, state: State) -> float:
    """Return when a run was imported; versions that did not record it have written its state only then."""
    return imported_at(state) or run.ui_state.stat().st_mtime


def ended_at(snapshot: RunSnapshot) -> float | None:
    """Return when a run's latest attempt ended, in seconds since the epoch, None if that is not known."""
    record = snapshot.exit_record
    if record is not None and record.ended_at is not None:
        return record.ended_at
    value: Any = snapshot.state.get("completed_at")
    return float(value) if is_number(value) and 0 < value < 1e11 else None


def resume_offer(run: RunPaths) -> ResumeOffer | None:
    """Return the label and help of a run's resume button, None if there is nothing to resume."""
    if needs_check(run):
        return ResumeOffer(
            label="Check the result", help="The trainer finished while no supervisor was running. Reads and checks the trained LoRA"
        )
    found = resume_preview(run)
    if found is None:
        return None
    return ResumeOffer(label=f"Resume from step {found.step}", help=f"Continues {found.sentence()} ({found.checkpoint})")
