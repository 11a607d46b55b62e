"""The exceptions that user input or the machine can cause, each with one error message for the user.

    FluxGymError
    ├── ConfigError          a setting of the training has a value that cannot be used
    │   └── BadName          a LoRA name that gives no folder name
    ├── SettingsError        a flag or environment variable of the app itself
    ├── DatasetError         images or captions
    │   ├── BadImage         a file that is not an image, or a damaged one
    │   └── TooLarge         an upload above the cap
    ├── ModelError           a model file is missing, truncated or of the wrong kind
    ├── StorageError         the disk is full, or read-only
    │   └── NotReadableNow   too many open files, or no memory: nothing is known about a file's content
    ├── SessionError         the request is not possible for the run
    │   ├── SessionNotFound  no run of that name
    │   ├── UnreadableState  a ui_state.json that cannot be read
    │   │   └── DamagedState  one that was read, or that is a link or a pipe: it holds no state
    │   ├── NameTaken        the run exists already and the request does not say what to do
    │   ├── AlreadyRunning   its trainer is alive
    │   ├── NeedsConsent     it can be done after the user has agreed to what the message says
    │   │   ├── NamesCode    the run names code, and this installation did not start it
    │   │   ├── TakesOver    the run was started on another host and may still run there
    │   │   └── ReplacesTemplate  another template of the name would lose its settings
    │   ├── NothingToResume  no complete checkpoint
    │   ├── ImportRefused    a file that is not an export, or a hostile one
    │   └── StopFailed       the process group outlived SIGKILL
    └── LaunchError          the supervisor or the trainer could not be started

Handlers of the page and the command line catch FluxGymError and nothing wider; everything else is a bug and shows as one in the log.
The queue code catches every error per run and logs it, so that damaged files of one run do not stop the others.
"""

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How much a check's result matters: an ERROR prevents Start."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, kw_only=True)
class Detail:
    """One entry of the list below a message; address is a page on the web about it, "" if there is none."""

    text: str
    address: str = ""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One result of a check, as a message; field is the form field that it is about, error the exception that was raised, if any.

    images is the filter of the images that it is about, such as "no_caption", and num_images their number; "" and 0 if it is not about some.
    """

    level: Level
    message: str
    field: str | None = None
    images: str = ""
    num_images: int = 0
    error: "FluxGymError | None" = dataclasses.field(default=None, compare=False, repr=False)

    @property
    def details(self) -> tuple[Detail, ...]:
        """The list that belongs to the message, such as the files that are missing."""
        return () if self.error is None else self.error.details


class FluxGymError(Exception):
    """A failure that the user can understand and act upon; `field` is the form field that caused it, if one did.

    details are the list that belongs to the message.
    """

    def __init__(self, message: str, *, field: str | None = None, details: Sequence[Detail] = ()) -> None:
        super().__init__(message)
        self.field = field
        self.details = tuple(details)


def describe_error(error: Exception) -> str:
    """Return an error's message; that of an error of this program has its type, because it may be only a key."""
    return str(error) if isinstance(error, (FluxGymError, OSError)) else f"{type(error).__name__}: {error}"


class ConfigError(FluxGymError):
    """A training setting has a value that cannot be used."""


class BadName(ConfigError):
    """A LoRA name that gives no folder name."""


class SettingsError(FluxGymError):
    """A flag or environment variable of the app has a value that cannot be used."""


class DatasetError(FluxGymError):
    """The images or captions cannot be used."""


class BadImage(DatasetError):
    """A file that is not an image, or is damaged."""


class TooLarge(DatasetError):
    """An upload above the cap."""


class ModelError(FluxGymError):
    """A model file is missing, truncated or of the wrong kind."""


class StorageError(FluxGymError):
    """The disk is full, or the folder cannot be written."""


class NotReadableNow(StorageError):
    """A file or process cannot be read now because too many files are open or memory is exhausted. Nothing is known about its content."""


class SessionError(FluxGymError):
    """The request is not possible for the run."""


class SessionNotFound(SessionError):
    """There is no run of that name."""


class UnreadableState(SessionError):
    """A ui_state.json that cannot be read."""


class DamagedState(UnreadableState):
    """A ui_state.json whose content is not a state, or that is not a regular file; it can be repaired."""


class NameTaken(SessionError):
    """A run of that name exists, and the request does not specify if it is to be resumed, versioned or replaced."""


class AlreadyRunning(SessionError):
    """The run's trainer is alive."""


class NeedsConsent(SessionError):
    """A request that is done when it is repeated with the name of this error's class among what the user has agreed to."""

    @classmethod
    def is_given(cls, agreed: Collection[str]) -> bool:
        """Return True if the user has agreed."""
        return cls.__name__ in agreed


class NamesCode(NeedsConsent):
    """The run names custom code, and this installation did not start it."""


class TakesOver(NeedsConsent):
    """The run was started on another host, and nothing shows that it has ended there."""


class ReplacesTemplate(NeedsConsent):
    """A template has the name already, and its settings would be lost."""


class NothingToResume(SessionError):
    """The run has no complete checkpoint."""


class ImportRefused(SessionError):
    """A file that is not an export of runs, or holds files that do not belong in one."""


class StopFailed(SessionError):
    """The trainer's process group outlived SIGKILL."""


class LaunchError(FluxGymError):
    """The supervisor or the trainer could not be started."""


def problem_of(error: FluxGymError, field: str | None = None) -> Problem:
    """Return an error as a problem; `field` is used if the error names none."""
    error.field = error.field or field
    return Problem(level=Level.ERROR, message=str(error), field=error.field, error=error.with_traceback(None))


def error_of(problem: Problem) -> FluxGymError:
    """Return the error of a problem, a LaunchError if none was raised, as for a trainer's problems."""
    return problem.error or LaunchError(problem.message, field=problem.field)
