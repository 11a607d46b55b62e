"""One run as a row of the page's lists: the word for its status, its date with a word for it, its metrics, and its next step."""

from urllib.parse import quote

from fluxgym.app_settings import Settings
from fluxgym.contract.codes import ENDED, LIVE, Phase, Status
from fluxgym.engines.registry import engine_of, has_process
from fluxgym.models.catalog import list_models
from fluxgym.runs.checkpoints import list_complete
from fluxgym.runs.path_checks import is_regular
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.runs.state import has_usual_folder, name_of
from fluxgym.sessions.advice import EDIT_LABEL
from fluxgym.sessions.listing import Session, read_session
from fluxgym.sessions.origin import IMPORTED, NOT_TRAINED_HERE, Origin, is_unstarted, origin_of, parent_of
from fluxgym.sessions.requeue import can_start_again
from fluxgym.sessions.resume import needs_check, resume_preview
from fluxgym.sessions.run_dates import date_of, ended_at
from fluxgym.sessions.run_metrics import AttemptSpans, earlier_s, metrics_of
from fluxgym.sessions.status_display import is_stopping, status_symbol, status_word
from fluxgym.supervisor.outcome import at_step
from fluxgym.trainers.base import backend_of_launch
from fluxgym.ui.api.row_actions import ResumeButton, RunSituation, kill_text, menu_items, next_step, page_state, stop_text
from fluxgym.ui.api.session_answers import SessionRow, Shape, StatusWord, StepAction

# The shape of each status.
SHAPES: dict[Status, Shape] = {
    Status.RUNNING: "running", Status.STARTING: "queued", Status.QUEUED: "queued", Status.STOPPED: "stopped", Status.COMPLETED: "done",
    Status.FAILED: "failed", Status.UNREADABLE: "bad",
}  # fmt: skip
PHASE_TEXTS: dict[str, str] = {  # of training, a row shows the figures
    Phase.STARTING: "Loading the trainer", Phase.DOWNLOADING: "Downloading", Phase.LOADING: "Loading the model",
    Phase.CACHING: "Preparing the images", Phase.SAMPLING: "Generating samples", Phase.VALIDATING: "Validating",
    Phase.SAVING: "Saving", Phase.VERIFYING: "Checking the LoRA", Phase.DONE: "Finishing",
}  # fmt: skip


class SessionRows:
    """Makes the rows of one outputs folder."""

    def __init__(self, settings: Settings) -> None:
        self._spans = AttemptSpans()
        self._titles = {model.id: model.short_title for model in list_models(settings.models)}

    def row_of(self, run: RunPaths) -> SessionRow | None:
        """Return the row of a run, None if its state was removed meanwhile."""
        session_and_snapshot = read_session(run)
        return None if session_and_snapshot is None else self.row(*session_and_snapshot)

    def row(self, session: Session, snapshot: RunSnapshot) -> SessionRow:
        """Return a session as a row, with what its buttons need; the snapshot is the one that the session was made from."""
        state = snapshot.state
        situation = _situation(snapshot, session)
        origin, is_live, step = situation.origin, situation.is_live, next_step(situation)
        began = date_of(snapshot, session.status, origin, session.started)
        parent = parent_of(snapshot.run, state) if origin is not Origin.TRAINED else ""
        spans, record = self._spans.of(snapshot), snapshot.process_record
        figures, attempt = metrics_of(snapshot, spans), record.attempt if record is not None else 1
        return SessionRow(
            **vars(session) | {"started": began.at, "reason": NOT_TRAINED_HERE if session.reason == IMPORTED else session.reason},
            began=began.word,
            shown=shown_status(session, origin, stopping=situation.is_stopping),
            activity=activity_of(session),
            ended=None if is_live else ended_at(snapshot),
            origin=origin,
            parent=parent,
            parent_name=name_of(OutputsPaths(snapshot.run.folder.parent).run(parent)) if parent else "",
            folder_name="" if has_usual_folder(session.slug, session.name) else session.slug,
            model=self.model_title(str(state.get("base_model") or "")),
            step=figures.step,
            total_steps=figures.total_steps,
            reason_names_step=(where := at_step(figures.step, figures.total_steps)) != "" and where in session.reason,
            duration_s=None if is_live else figures.duration_s,
            attempt=attempt,
            duration_from=record.started_at - earlier_s(spans, attempt)
            if record is not None and session.status is Status.RUNNING
            else None,
            lora=situation.lora,
            is_live=is_live,
            is_stopping=situation.is_stopping,
            next_step=step,
            stop_text=_stop_text(snapshot, session, step.action),
            menu=menu_items(situation, step),
            edit_text=EDIT_LABEL if session.status is not Status.UNREADABLE else None,
            page_state=page_state(session.status, origin),
        )

    def model_title(self, model_id: str) -> str:
        """Return the short title of a base model, its id if the catalog does not have it."""
        return self._titles.get(model_id, model_id)


def _situation(snapshot: RunSnapshot, session: Session) -> RunSituation:
    """Return the values that determine which actions a run has."""
    run, is_live = snapshot.run, session.status in LIVE
    executing = not is_live and has_process(snapshot)
    resume = resume_button(snapshot) if session.status in ENDED and not executing else None
    return RunSituation(
        status=session.status,
        origin=origin_of(run, snapshot.state),
        is_stopping=is_stopping(run, session.status),
        is_executing=executing,
        lora=f"runs/{quote(run.slug)}/loras/{quote(run.lora.name)}" if is_regular(run.lora) else None,
        is_next=session.status is Status.QUEUED and engine_of(run).queue.slugs()[:1] == (run.slug,),
        resume=resume,
        can_start=session.status in ENDED and not executing and resume is None and can_start_again(run),
        reason_code=session.reason_code,
    )


def _stop_text(snapshot: RunSnapshot, session: Session, action: StepAction) -> str:
    """Return what the button of a live run's next step does to its training, "" for other buttons."""
    if action is StepAction.KILL:
        return kill_text(session.progress, list_complete(snapshot.run, backend_of_launch(snapshot.latest_launch)))
    return stop_text(session.progress) if action is StepAction.STOP else ""


def shown_status(session: Session, origin: Origin, *, stopping: bool) -> StatusWord:
    """Return how the page shows a status."""
    shape: Shape = "none" if is_unstarted(session.status, origin) else SHAPES[session.status]
    return StatusWord(
        word=status_word(session.status, origin, is_stopping=stopping),
        symbol=status_symbol(session.status, is_stopping=stopping),
        shape="queued" if stopping else shape,
    )


def activity_of(session: Session) -> str:
    """Return what a running run does besides training: "Preparing the images, 3 of 20"; "" while it trains or if it is not running."""
    phase = str(session.progress.get("phase") or Phase.STARTING)
    item, total = session.progress.get("item"), session.progress.get("num_items")
    if session.status is not Status.RUNNING or phase == Phase.TRAINING:
        return ""
    text = PHASE_TEXTS.get(phase, phase)
    return text if item is None or total is None else f"{text}, {item} of {total}"


def resume_button(snapshot: RunSnapshot) -> ResumeButton | None:
    """Return the label and help of a run's resume button, None if there is nothing to resume."""
    if needs_check(snapshot):
        return ResumeButton(
            label="Check the result", help="The trainer finished while no supervisor was running. Reads and checks the trained LoRA"
        )
    preview = resume_preview(snapshot)
    if preview is None:
        return None
    return ResumeButton(label=f"Resume from step {preview.step}", help=f"Continues {preview.message()} ({preview.checkpoint})")
