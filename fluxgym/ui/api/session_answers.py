"""The answers of the JSON API about the lists of runs: rows, pages, banner. See answers.py for what all answers share."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from typing_extensions import TypedDict  # pydantic reads typing's own only from Python 3.12 on

from fluxgym.contract.codes import Status
from fluxgym.sessions.origin import Origin

Shape = Literal["running", "queued", "stopped", "done", "failed", "bad", "none"]


class StepAction(StrEnum):
    """The action of the button for a run's next step. LOAD fills the form, DOWNLOAD follows a link, all others are requests to the app."""

    KILL = "kill"
    CANCEL = "cancel"
    STOP = "stop"
    REPAIR = "repair"
    RESUME = "resume"
    START = "start"
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
    """The state of a run's page. ENDED: the run ended before its last step. NEW: a copy or an import that was not started."""

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
    """The trainer's last known figures (sessions/listing.py). A TypedDict, so that unknown figures are left out of the JSON.

    Times are in seconds. phase is a Phase, or a phase of another trainer.
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
    """A run as a row of a list.

    name: the name that the page shows, which no other run has. parent: the slug of the run that this run was made from.
    parent_name: the name that the page shows for it. folder_name: the name of the folder if the name does not give it, else "".
    began: the label of the time `started`, such as “Imported”. progress: the trainer's last known figures.
    step: the last trained step; reason_names_step is true if the text of `reason` contains it.
    duration_s: the duration of all attempts together. duration_from: while the run trains, the time from which the page counts the duration,
    which is the start of the attempt less the duration of earlier attempts.
    lora: the address of the trained LoRA. is_live: true while the run trains, starts or waits.
    stop_text: the effect of the stop button (a stop or an immediate stop), "" if the next step is another one.
    edit_text: the label of the button that fills the form with the run's settings, null if they cannot be read.
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
    parent_name: str
    folder_name: str
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
    """The number of runs by status, of those that match the filters by name and model; shown is that of runs that match all filters.

    unstarted is the number of copies, imported that of imports, that were not started.
    """

    total: int
    running: int
    queued: int
    stopped: int
    failed: int
    completed: int
    unstarted: int
    imported: int
    shown: int


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """A base model by which the list can be filtered."""

    id: str
    title: str


@dataclass(frozen=True, kw_only=True)
class SessionPage:
    """One page of the list of runs. models are the base models of all runs."""

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

    waiting: the number of queued runs after the one in `rows`. more: the number of rows that are left out; more_attention: how many of these
    need attention. last_end: null if no run has ended. open_end: the key of the latest end of the run that the page shows.
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
