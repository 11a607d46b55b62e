"""What the page offers for a run: the button of its next step, the items of its menu, what a stop does, and the state of its page."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fluxgym.contract.codes import LIVE, Phase, ReasonCode, Status
from fluxgym.runs.checkpoints import Checkpoint, num_steps_lost
from fluxgym.sessions.advice import EDIT_LABEL, REPAIR_LABEL, START_AGAIN_LABEL, START_LABEL
from fluxgym.sessions.origin import Origin, is_unstarted
from fluxgym.ui.api.session_answers import MenuItem, NextStep, PageState, StepAction

TRAINS = frozenset({Phase.TRAINING, Phase.SAMPLING, Phase.VALIDATING, Phase.SAVING})  # phases in which a stop saves a checkpoint
STOP_NOW = NextStep(action=StepAction.KILL, text="Stop now…", help="Ends the trainer at once")
CANCEL = NextStep(action=StepAction.CANCEL, text="Cancel", help="Removes it from the queue; its settings and images stay")
STOP = NextStep(action=StepAction.STOP, text="Stop…", help="Asks first, and says what is saved")
REPAIR = NextStep(
    action=StepAction.REPAIR,
    text=REPAIR_LABEL,
    help="Restores the settings from the run’s history, or from its command and LoRA. The damaged file is kept",
)
EDIT = NextStep(action=StepAction.LOAD, text=EDIT_LABEL, help="Fills the form with its settings and images, to be started from there")
START = NextStep(action=StepAction.START, text=START_LABEL, help="Trains it with its own settings and images")
START_AGAIN = replace(START, text=START_AGAIN_LABEL, help="Trains it from the beginning with the same settings and images")
EDIT_FAILED = replace(EDIT, help="Fills the form with its settings and images; change what failed, then start it")
EDIT_STOPPED = replace(EDIT, help="Fills the form with its settings and images; it has no checkpoint to resume from")
NOT_BY_SETTINGS = frozenset({  # causes of a failure that the same settings may not meet again
    ReasonCode.DISK_FULL, ReasonCode.DRIVER, ReasonCode.INTERRUPTED, ReasonCode.LAUNCH, ReasonCode.STALLED, ReasonCode.STORAGE,
    ReasonCode.SUPERVISOR,
})  # fmt: skip
STOP_WHILE_VERIFYING = (
    "The training is done and the LoRA is being checked. Without the check it is not known whether the file is complete; it can be checked "
    "later."
)
STOP_AFTER_RESUME = "It has not trained since it was resumed. It ends now and keeps its checkpoints."
STOP_BEFORE_TRAINING = "Nothing has been trained yet, so nothing is saved. Its settings and images are kept."


@dataclass(frozen=True, kw_only=True)
class ResumeButton:
    """The button that continues a run: its label, and a help text."""

    label: str
    help: str


@dataclass(frozen=True, kw_only=True)
class RunSituation:
    """The values that determine which actions a run has.

    is_executing is true while a process of a run is alive that is not live by its status. is_next is true for the first run of the queue.
    lora is the address of the trained LoRA. can_start is true if it can be started from the beginning and loses nothing by that.
    """

    status: Status
    origin: Origin
    is_stopping: bool
    is_executing: bool
    lora: str | None
    resume: ResumeButton | None
    is_next: bool = False
    can_start: bool = False
    reason_code: str = ""

    @property
    def is_live(self) -> bool:
        """Return True if the run trains, starts or waits."""
        return self.status in LIVE


def next_step(run: RunSituation) -> NextStep:
    """Return the next step of a run besides Open."""
    if run.is_stopping:
        return STOP_NOW
    if run.status is Status.QUEUED:
        return CANCEL
    if run.is_live or run.is_executing:
        return STOP
    if run.status is Status.UNREADABLE:
        return REPAIR
    if run.resume is not None:
        return NextStep(action=StepAction.RESUME, text=run.resume.label, help=run.resume.help)
    if run.can_start and (run.status is not Status.FAILED or run.reason_code in NOT_BY_SETTINGS):
        return START if is_unstarted(run.status, run.origin) else START_AGAIN
    if run.origin is not Origin.TRAINED and run.lora is None:
        return EDIT
    if run.lora is not None and run.status is not Status.FAILED:
        return NextStep(action=StepAction.DOWNLOAD, text="Download", help="The trained LoRA", href=run.lora)
    return EDIT_FAILED if run.status is Status.FAILED else EDIT_STOPPED


def menu_items(run: RunSituation, step: NextStep) -> list[MenuItem]:
    """Return the items of a run's menu; the settings are loaded by the button of the next step, or by an item."""
    items = [MenuItem.NEXT] if run.status is Status.QUEUED and not run.is_next else []
    if run.status is not Status.UNREADABLE:
        items += [] if step.action is StepAction.LOAD else [MenuItem.EDIT]
        items += [MenuItem.DUPLICATE, MenuItem.HISTORY, MenuItem.TEMPLATE, MenuItem.EXPORT]
    return items if run.is_live or run.is_executing else [*items, MenuItem.FORGET, MenuItem.DELETE]


def page_state(status: Status, origin: Origin) -> PageState:
    """Return the state of a run's page, which decides what cards it has."""
    if status in LIVE:
        return PageState.LIVE
    if status is Status.COMPLETED:
        return PageState.DONE
    return PageState.NEW if is_unstarted(status, origin) else PageState.ENDED


def stop_text(progress: Mapping[str, Any]) -> str:
    """Return what a stop does now; before the first step of an attempt there is nothing to save."""
    step, phase = progress.get("step"), progress.get("phase")
    if phase == Phase.VERIFYING:
        return STOP_WHILE_VERIFYING
    if not step:
        return STOP_BEFORE_TRAINING
    if phase not in TRAINS:
        return STOP_AFTER_RESUME
    return f"The trainer finishes the current step, saves a checkpoint and ends. You can resume it from there. It is at step {step:,.0f}."


def kill_text(progress: Mapping[str, Any], checkpoints: Iterable[Checkpoint]) -> str:
    """Return what an immediate stop does now, with the steps that it loses."""
    if progress.get("phase") == Phase.VERIFYING:
        return STOP_WHILE_VERIFYING
    step = int(progress.get("step") or 0)
    complete = list(checkpoints)
    lost = num_steps_lost(step, complete)
    if not lost:
        return (
            "Ends the trainer at once. No trained step is lost." if complete else "Ends the trainer at once. Nothing has been trained yet."
        )
    steps = f"{lost:,} step{'s' * (lost != 1)}"
    verb = "is" if lost == 1 else "are"
    since = f"{steps} since the last checkpoint {verb} lost" if complete else f"There is no checkpoint, so all {steps} {verb} lost"
    return f"Ends the trainer at once. {since}."
