"""The answers of the JSON API about actions on runs: their results, what they would remove, and the removed runs. See answers.py."""

from dataclasses import dataclass, field

from fluxgym.sessions.removed_runs import Removal


@dataclass(frozen=True, kw_only=True)
class ActionResult:
    """The result of an action on a run: the slug of a copy, the settings that a restore changed, the name of a template, a message to show."""

    slug: str | None = None
    changed: list[str] = field(default_factory=list)
    template: str | None = None
    notice: str = ""


@dataclass(frozen=True, kw_only=True)
class CopyName:
    """A name for a copy of a run that no run has."""

    name: str


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What the folders of runs hold, for the question before they are deleted."""

    num_files: int
    num_bytes: int
    num_loras: int
    num_checkpoints: int
    num_samples: int
    num_images: int


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A run with which an action on several runs was not possible, and why."""

    slug: str
    message: str


@dataclass(frozen=True, kw_only=True)
class BulkResult:
    """The slugs of the runs with which an action was done, and the runs that were refused."""

    slugs: list[str]
    refused: list[Refused] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class RemovedItem:
    """A run that was forgotten or replaced and can be put back by its id; num_loras is the number of its LoRA files."""

    id: str
    name: str
    removal: Removal
    removed_at: float
    num_loras: int


@dataclass(frozen=True, kw_only=True)
class RemovedRuns:
    """The runs that are not on the list any more, the one that was removed last first."""

    runs: list[RemovedItem]


@dataclass(frozen=True, kw_only=True)
class SweepPreview:
    """The number of runs that a sweep would take off the list, and the names of some of them."""

    count: int
    names: list[str]
