"""The answers of the JSON API about the lists of runs: rows, pages, banner. See answers.py for what all answers share."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from typing_extensions import TypedDict  # pydantic reads typing's own only from Python 3.12 on

from fluxgym.contract.codes import Status
from fluxgym.sessions.origin import Origin

Shape = Literal["running", "queued", "stopped", "done", "failed", "bad", "none"]


class StepAction(StrEnum):
    """What the button of a run's next step does: LOAD fills the form, all but DOWNLOAD and LOAD are requests to the app."""

    KILL = "kill"
    CANCEL = "cancel"
    STOP = "stop"
    REPAIR = "repair"
    RESUME = "resume"
    LOAD = "load"
    DOWNLOAD = "download"


class MenuItem(StrEnum):
    """An item of a run's menu."""

    NEXT = "next"
    EDIT = "edit"
    DUPLICATE = "duplicate"
    HISTORY = "history"
    TEMPLATE = "template"
    EXPORT = "export"
    FORGET = "forget"
    DELETE = "delete"


class PageState(StrEnum):
    """The state of a run's page; ENDED is before the last step, NEW is a copy or an import that was not started."""

    LIVE = "live"
    DONE = "done"
    ENDED = "ended"
    NEW = "new"


@dataclass(frozen=True, kw_only=True)
class NextStep:
    """The button of a run's next step, and its help text. href is the address of a download."""

    action: StepAction
    text: str
    help: str
    href: str | None = None


@dataclass(frozen=True, kw_only=True)
class StatusWord:
    """How a row shows its status: a word, the guide's symbol for screen readers, and the name of the SVG shape and color."""

    word: str
    symbol: str
    shape: Shape


class ProgressFigures(TypedDict, total=False):
    """The trainer's last known figures, as sessions/listing.py makes them. A dataclass could not leave out the unknown ones.

    Times are in seconds. phase is a Phase, or that of another trainer.
    """

    time: int | float
    attempt: int | float
    phase: str
    step: int | float
    total_steps: int | float
    epoch: int | float
    loss: int | float
    lr: int | float
    s_per_it: int | float
    vram_mb: int | float
    rss_mb: int | float
    item: int | float
    num_items: int | float
    eta_s: int | float


@dataclass(frozen=True, kw_only=True)
class SessionRow:
    """A run as a row of a list. began is the label of the time `started`; progress has the trainer's last known figures.

    step is the last one that was trained, and reason_names_step is true if the reason has it. name is the one that is shown and tells the run
    from others. parent is the slug of the run that it was made from. duration_s is that of
    all attempts together; while it runs, it counts from
    duration_from: the start of the attempt, less the duration of the earlier ones. lora is the address of the trained LoRA. is_live is true
    while the run trains, starts or waits. stop_text says what a stop, or an immediate stop, does now, "" if its next step is another.
    edit_text is the label of the button that fills the form with the settings, null if they cannot be read.
    """

    slug: str
    name: str
    lora_name: str
    status: Status
    shown: StatusWord
    activity: str
    reason_code: str
    reason: str
    started: float
    began: str
    ended: float | None
    origin: Origin
    parent: str
    model: str
    max_train_epochs: int | None
    checkpointing: bool
    monitoring: bool
    progress: ProgressFigures
    step: int | None
    total_steps: int | None
    reason_names_step: bool
    duration_s: float | None
    attempt: int
    duration_from: float | None
    folder: str
    run_id: str | None
    lora: str | None
    is_live: bool
    is_stopping: bool
    next_step: NextStep
    stop_text: str
    menu: list[MenuItem]
    edit_text: str | None
    page_state: PageState


@dataclass(frozen=True, kw_only=True)
class SessionCounts:
    """The number of runs by status; shown is the number that the filters leave."""

    total: int
    running: int
    queued: int
    stopped: int
    failed: int
    completed: int
    shown: int


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """A base model by which the list can be filtered."""

    id: str
    title: str


@dataclass(frozen=True, kw_only=True)
class SessionPage:
    """One page of the list of runs. models are those that any run has."""

    version: str
    counts: SessionCounts
    rows: list[SessionRow]
    page: int
    page_size: int
    models: list[ModelChoice]


@dataclass(frozen=True, kw_only=True)
class BannerCounts:
    """The number of runs that run, wait, and need attention since they were last opened, and of all runs."""

    running: int
    queued: int
    attention: int
    total: int


@dataclass(frozen=True, kw_only=True)
class RunningNow:
    """The run for the title of the browser's tab; percent is None before its first step."""

    slug: str
    name: str
    percent: int | None


@dataclass(frozen=True, kw_only=True)
class LastEnd:
    """The run that ended last, the word of its status, and when; for the title of the browser's tab."""

    slug: str
    name: str
    word: str
    at: float


@dataclass(frozen=True, kw_only=True)
class Banner:
    """The rows of the banner, and the line about the machine.

    waiting is the number of queued runs after the one that is shown, more the number of rows that are left out, of which more_attention need
    attention. last_end is null if no run has ended. open_end is the key of the latest end of the run that the page shows.
    """

    version: str
    counts: BannerCounts
    rows: list[SessionRow]
    waiting: int
    waiting_names: list[str]
    more: int
    more_attention: int
    last_end: LastEnd | None
    open_end: str
    running: RunningNow | None
    machine: list[str]
