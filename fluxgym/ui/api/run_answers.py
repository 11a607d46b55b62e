"""The answers of the JSON API about one run's page, and about several runs side by side; see answers.py."""

from dataclasses import dataclass

from fluxgym.ui.api.session_answers import SessionRow


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """What a run trains and how long it took; model is the base model's title, trained_s the seconds of all attempts together.

    use says with which programs its LoRA works, "" if that is not known.

    queued_at is null if the run did not wait; parent is the run that it was made from, "" for none, parent_name the name that is shown for it.
    can_train_further is true if the run is completed and has a checkpoint to continue from with more epochs.
    """

    model: str
    use: str
    trigger: str
    num_images: int
    queued_at: float | None
    trained_s: float | None
    parent: str
    parent_name: str
    can_train_further: bool


@dataclass(frozen=True, kw_only=True)
class SampleColumn:
    """The sample images of one step or epoch, one per prompt; null where there is none. step is null if it is unknown."""

    key: str
    label: str
    step: int | None
    epoch: int | None
    images: list[str | None]


@dataclass(frozen=True, kw_only=True)
class NextSamples:
    """The next sample images that a live run draws; step is null if the run samples by epochs."""

    label: str
    step: int | None


@dataclass(frozen=True, kw_only=True)
class SampleMatrix:
    """The sample images by prompt and step, the earliest first.

    interval is a text about how often they are generated, empty the text that is shown without any.
    """

    prompts: list[str]
    columns: list[SampleColumn]
    upcoming: NextSamples | None
    interval: str
    empty: str


@dataclass(frozen=True, kw_only=True)
class LoraFile:
    """A LoRA file that can be downloaded; path is where it is on the app's machine, size is text in MB = 10^6 bytes. Unknown numbers are null.

    checkpoint is the folder of the complete checkpoint that was saved with it, if the run can be resumed from there.
    """

    name: str
    path: str
    url: str
    size: str
    is_final: bool
    epoch: int | None
    step: int | None
    val_loss: float | None
    checkpoint: str | None


@dataclass(frozen=True, kw_only=True)
class LoraFiles:
    """The LoRA files, the newest first. best is the name of the one with the lowest validation loss, else the trained model's; why is the reason."""

    files: list[LoraFile]
    best: str | None
    why: str


@dataclass(frozen=True, kw_only=True)
class SettingRow:
    """A setting of a run; default and parent are the model's default and the value in the run that it is a copy of, null if they are equal."""

    name: str
    label: str
    value: str
    default: str | None
    parent: str | None


@dataclass(frozen=True, kw_only=True)
class ChangedValue:
    """A setting that was changed, with both values as the form shows them."""

    label: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class HistoryVersion:
    """Earlier settings of a run, what was changed in them at `kept_at`, and whether they can be restored now.

    resumed_after is the step that the training had reached when it was resumed at that time, null if it was not resumed or that is not known.
    """

    id: str
    kept_at: float
    changes: list[ChangedValue]
    resumed_after: int | None
    can_restore: bool


@dataclass(frozen=True, kw_only=True)
class HistoryPage:
    """The earlier settings of a run, newest first; unreadable are the names of files that cannot be read."""

    versions: list[HistoryVersion]
    unreadable: list[str]


@dataclass(frozen=True, kw_only=True)
class MonitorState:
    """Whether a supervisor watches the run, its process ID if monitoring is on, and the last lines of monitor.log."""

    is_alive: bool
    pid: int | None
    lines: list[str]


@dataclass(frozen=True, kw_only=True)
class RunOutcome:
    """Why a run ended before its last step, and what to do: the cause as a title, the reason as a message, lines of the log that show it."""

    title: str
    reason: str
    exit: str
    evidence: list[str]
    advice: list[str]


@dataclass(frozen=True, kw_only=True)
class LogPart:
    """Text that was appended to training.log, or its last part if replace is true."""

    text: str
    replace: bool


@dataclass(frozen=True, kw_only=True)
class CurvePoints:
    """Points of the loss curve that changed, as [step, loss] pairs; last is the latest one if the thinned curve omits it.

    rates are the learning rates of these points, null where the trainer reports none; validation are [step, validation loss] pairs.
    """

    points: list[tuple[int, float]]
    rates: list[float | None]
    last: tuple[int, float] | None
    last_rate: float | None
    validation: list[tuple[int, float]]
    replace: bool


@dataclass(frozen=True, kw_only=True)
class RunChanges:
    """The parts of a run's page that changed. seen goes into the next request; is_missing is true if there is no such run."""

    seen: str = ""
    is_missing: bool = False
    session: SessionRow | None = None
    facts: RunSummary | None = None
    samples: SampleMatrix | None = None
    files: LoraFiles | None = None
    settings: list[SettingRow] | None = None
    history: list[HistoryVersion] | None = None
    monitor: MonitorState | None = None
    ending: RunOutcome | None = None
    log: LogPart | None = None
    curve: CurvePoints | None = None


@dataclass(frozen=True, kw_only=True)
class ComparedRun:
    """One of two runs that are compared; points are [step, loss] pairs, thinned if there are many."""

    slug: str
    name: str
    points: list[tuple[int, float]]


@dataclass(frozen=True, kw_only=True)
class ComparedSetting:
    """A setting, or a result, of each compared run; a value is "" where it is not known."""

    label: str
    values: list[str]
    differs: bool


@dataclass(frozen=True, kw_only=True)
class ComparedSamples:
    """The latest sample images of each compared run that has any: a column per run, whose key and label are its folder and its name."""

    prompts: list[str]
    columns: list[SampleColumn]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Runs side by side."""

    runs: list[ComparedRun]
    settings: list[ComparedSetting]
    samples: ComparedSamples
