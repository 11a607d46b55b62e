"""Enums of statuses, phases and reason codes that app, trainer, page and the files of a run share. The values are persisted and never change."""

from enum import StrEnum

EXIT_STOPPED = 143  # exit code of a trainer that saved its state after SIGTERM
EXIT_REFUSED = 2  # exit code of a trainer after a user error, which it reports with one error message
EXIT_FENCED = 144  # exit code of a trainer that ended itself because another start has taken over its folder
ERROR_PREFIX = "error: "  # prefix of the line of a trainer's output with its error message


class Status(StrEnum):
    """Status of a run, as in `ui_state.json` and `exit.json`."""

    STARTING = "starting"
    QUEUED = "queued"
    RUNNING = "running"
    STOPPED = "stopped"
    COMPLETED = "completed"
    FAILED = "failed"
    UNREADABLE = "unreadable"


LIVE = frozenset({Status.STARTING, Status.QUEUED, Status.RUNNING})
ENDED = frozenset({Status.STOPPED, Status.COMPLETED, Status.FAILED})


class Phase(StrEnum):
    """What a trainer is doing, as in `progress.jsonl`. Lines of newer or other trainers may have further phases."""

    STARTING = "starting"  # no line has been written yet
    DOWNLOADING = "downloading"
    LOADING = "loading"
    CACHING = "caching"
    TRAINING = "training"
    SAMPLING = "sampling"
    VALIDATING = "validating"
    SAVING = "saving"
    VERIFYING = "verifying"
    DONE = "done"


FINISHED = frozenset({Phase.DONE, Phase.VERIFYING})


class ReasonCode(StrEnum):
    """Why a run is in its status, for programs; a message for the user is always stored with it."""

    BAD_INPUT = "bad_input"
    BAD_MODEL = "bad_model"
    BAD_OUTPUT = "bad_output"
    CUDA_OOM = "cuda_oom"
    DISK_FULL = "disk_full"
    DRIVER = "driver"
    INTERRUPTED = "interrupted"
    LAUNCH = "launch"
    NAN = "nan"
    NOT_VERIFIED = "not_verified"
    RAM_OOM = "ram_oom"
    STALLED = "stalled"
    STORAGE = "storage"
    SUPERVISOR = "supervisor"
    UNKNOWN = "unknown"
    UNREADABLE = "unreadable"
    USER = "user"


# Exit codes of a trainer that cannot write its reason into progress.jsonl any more.
EXIT_CODES = {ReasonCode.DISK_FULL: 28, ReasonCode.STORAGE: 5}
REASON_OF_EXIT = {number: code for code, number in EXIT_CODES.items()}
