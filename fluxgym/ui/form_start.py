"""Start: makes the form's run, offers the choices about a taken name, and recognizes a second click."""

import time
from dataclasses import replace

from fluxgym.app_settings import Settings
from fluxgym.config.settings import SETTINGS, STATE_KEYS
from fluxgym.engines.registry import is_executing
from fluxgym.errors import FluxGymError, NameTaken
from fluxgym.planning.plan import TrainingPlan
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.runs.state import read_state, timestamp_of
from fluxgym.sessions.folder_contents import contents
from fluxgym.sessions.preconditions import first_free_run
from fluxgym.sessions.start import IfExists, start_plan
from fluxgym.ui.api.answers import FormAnswer, StartedRun, TakenName
from fluxgym.ui.api.session_rows import resume_button
from fluxgym.ui.form_draft import FormDrafts
from fluxgym.ui.form_request import FormRequest

TWICE_S = 10.0


class FormStart:
    """Starts the plans of the form in one outputs folder."""

    def __init__(self, settings: Settings, drafts: FormDrafts) -> None:
        self._settings = settings
        self._outputs = OutputsPaths(settings.outputs)
        self._drafts = drafts

    def first_press(self, request: FormRequest, plan: TrainingPlan) -> str:
        """Return the slug of the run that an earlier click on Start has made with the same settings, else ""."""
        return "" if request.details.if_exists else self._recent_duplicate(plan)

    def start(self, request: FormRequest, plan: TrainingPlan, answer: FormAnswer) -> FormAnswer:
        """Start a plan without errors; add the run, a question about its name or the reason of a refusal to the answer about the form."""
        if_exists = request.details.if_exists
        try:
            run = start_plan(plan, self._settings, if_exists=if_exists, gpus=request.gpus or None)
        except NameTaken:
            if slug := self.first_press(request, plan):
                return started(slug, answer)
            return replace(answer, taken=self._choice(plan.run.slug))
        except FluxGymError as error:
            return _refused(answer, error)
        if if_exists != IfExists.RESUME:  # a resumed run has its own settings and images; what was typed is not in it
            self._drafts.clear(request, images=not request.source, run=run.slug)
        return started(run.slug, answer)

    def _recent_duplicate(self, plan: TrainingPlan) -> str:
        """Return the slug of a run that was started with these settings within the last TWICE_S seconds, else ""."""
        run = plan.run
        try:
            state = read_state(run)
        except FluxGymError:
            return ""
        is_same = {"advanced": {}} | {name: state.get(name) for name in STATE_KEYS if name in state} == plan.config.to_state()
        is_new = 0 <= time.time() - timestamp_of(state) < TWICE_S
        return run.slug if is_same and is_new and is_executing(run) else ""

    def _choice(self, slug: str) -> TakenName:
        """Return the choices about a LoRA name that a run already has, with their labels."""
        version = first_free_run(self._outputs, slug, first_version=2).slug
        run = self._outputs.run(slug)
        executing = is_executing(run)
        resume = None if executing else resume_button(RunSnapshot.read(run))
        return TakenName(
            title=f"{slug} exists already",
            sentence="A training of this name is not finished. It goes on, and yours can get a folder of its own."
            if executing
            else "A training has this name. It stays as it is until you choose.",
            resume=resume.label if resume else None,
            new=f"Start as {version}",
            replace=None if executing else f"Replace {slug}",
            replace_help=_replace_help(run),
        )


def _replace_help(run: RunPaths) -> str:
    """Return a sentence about a run that is replaced, and its content."""
    try:
        content = f" with all it holds ({contents(run).message()})"
    except FluxGymError:
        content = ""
    return f"Moves the existing run to the archive{content}. “Removed runs…” in the menu of Active Training Sessions puts it back"


def started(slug: str, answer: FormAnswer) -> FormAnswer:
    """Return the answer to Start with the run that it made."""
    return replace(answer, source=(answer.source[0], slug), started=StartedRun(slug=slug), draft=False, reload_images=True)


def _refused(answer: FormAnswer, error: FluxGymError) -> FormAnswer:
    """Put a refusal beside its field, or below the checks when it is about none."""
    if error.field is None or error.field not in SETTINGS or answer.checks is None:
        return replace(answer, message=str(error))
    details = {error.field: error.details} if error.details else {}
    checks = replace(answer.checks, errors=answer.checks.errors | {error.field: str(error)}, details=answer.checks.details | details)
    return replace(answer, checks=checks)
