"""The outcome of a run: status, reason code and message, from what is known at the end of its trainer. Pure functions."""

import signal
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from fluxgym.contract.codes import ERROR_PREFIX, EXIT_STOPPED, REASON_OF_EXIT, ReasonCode, Status
from fluxgym.runs.progress import is_done
from fluxgym.supervisor.stall import Stall

STOP_EXITS = (EXIT_STOPPED, None, -signal.SIGTERM, -signal.SIGKILL)
KILL_EXITS = (None, -signal.SIGTERM, -signal.SIGKILL)
PHRASES = {
    ReasonCode.CUDA_OOM: ("CUDA out of memory", "torch.OutOfMemoryError"),
    ReasonCode.DISK_FULL: ("No space left on device", "Disk quota exceeded"),
    ReasonCode.DRIVER: ("CUDA driver version is insufficient", "no kernel image is available"),
}
SENTENCES = {  # {again} is replaced by ExitContext.again: resume or retry
    ReasonCode.CUDA_OOM: "The GPU ran out of memory; free GPU memory, then {again}.",
    ReasonCode.DISK_FULL: "The disk is full; free some space, then {again}.",
    ReasonCode.STORAGE: "A file of the run could not be written; check the disk and the permissions of the outputs folder, then {again}.",
    ReasonCode.DRIVER: "PyTorch and the GPU's driver do not fit together; update the driver, then {again}.",
}
UNVERIFIED = "its result could not be checked"


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The check of the LoRA that a trainer left; details are what was checked."""

    ok: bool
    reason: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Verification":
        """Read what verify_lora prints.

        Raises:
            KeyError: If it is something else.
        """
        details = {name: item for name, item in value.items() if name not in ("ok", "reason")}
        return cls(ok=bool(value["ok"]), reason=str(value["reason"]), details=details)

    def to_json(self) -> dict[str, Any]:
        """Return what exit.json holds."""
        return {"ok": self.ok, "reason": self.reason, **self.details}


@dataclass(frozen=True, kw_only=True)
class ExitContext:
    """What is known at the end of a trainer. exit_code is negative for a signal, None if it is unknown; log_end are the last lines.

    has_steps_left is False if the newest checkpoint has all steps, so that a resume would have nothing to do. steps_lost is the number of
    trained steps that no checkpoint has, None if it is unknown.
    """

    exit_code: int | None
    stop_requested: bool
    was_killed: bool
    stop_immediately: bool
    last_line: Mapping[str, Any]
    log_end: tuple[str, ...]
    kernel_killed: bool
    verification: Verification | None
    saved_state: bool
    has_checkpoint: bool = True
    has_steps_left: bool = True
    steps_lost: int | None = None
    stall: Stall | None = None
    restarts: int = 0
    check_stopped: bool = False

    @property
    def is_done(self) -> bool:
        """True if the trainer's last line reports that it is done."""
        return is_done(dict(self.last_line))

    @property
    def is_verified(self) -> bool:
        """True if the LoRA was checked and is complete."""
        return self.verification is not None and self.verification.ok

    @property
    def again(self) -> str:
        """The next action for a failed run, by its name on the page and in the commands."""
        return "resume" if self.has_checkpoint and self.has_steps_left else "retry"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended. exit.json and the changes of ui_state.json are projections of it. exit_code is None after a signal."""

    status: Status
    reason_code: str = ""
    reason: str = ""
    verification: Verification | None = None
    exit_code: int | None = None
    signal: str | None = None
    last_step: int | None = None

    def to_exit(self) -> dict[str, Any]:
        """Return the fields of exit.json that depend on the outcome."""
        verified = {} if self.verification is None else self.verification.to_json()
        return {name: value for name, value in asdict(self).items() if name != "verification"} | {"verified": verified}


def failed_outcome(code: ReasonCode, reason: str, *, exit_code: int | None = None, last_step: int | None = None) -> Outcome:
    """Return the outcome of a run that failed for a reason of FluxGym's own; exit_code is negative for a signal."""
    return Outcome(status=Status.FAILED, reason_code=code, reason=reason, last_step=last_step, **_exit_fields(exit_code))


def classify(context: ExitContext) -> Outcome:
    """Return how a run ended and why.

    A trainer whose last line reports that it is done has finished, regardless of its process afterwards; the outcome depends on its LoRA.
    """
    status, code, reason = _classify(context)
    return Outcome(
        status=status, reason_code=code, reason=reason, verification=context.verification, last_step=context.last_line.get("step"),
        **_exit_fields(context.exit_code),
    )  # fmt: skip


def signal_name(number: int) -> str:
    """Return a signal's name; real-time signals are counted from SIGRTMIN."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"


def _exit_fields(code: int | None) -> dict[str, Any]:
    if code is None or code >= 0:
        return {"exit_code": code, "signal": None}
    return {"exit_code": None, "signal": signal_name(-code)}


def _classify(context: ExitContext) -> tuple[Status, str, str]:
    code, stopped = context.exit_code, context.stop_requested
    if context.check_stopped:
        again = "; Resume checks it again" if context.is_done else ""
        return Status.STOPPED, ReasonCode.USER, f"Stopped by you while its result was being checked{again}."
    if context.is_done and (context.is_verified or not stopped):
        return _finished(context)
    if context.stall is not None and not stopped:
        return Status.FAILED, ReasonCode.STALLED, _stalled_sentence(context, context.stall)
    if code == 0:
        return _finished(context)
    if stopped and code in STOP_EXITS:
        return Status.STOPPED, ReasonCode.USER, _stopped_sentence(context)
    if code == EXIT_STOPPED:
        return Status.STOPPED, ReasonCode.INTERRUPTED, f"Something outside FluxGym asked it to stop{_at_step(context)}" + _saved(context)
    if code in KILL_EXITS:
        return Status.STOPPED, ReasonCode.INTERRUPTED, _killed_sentence(context)
    return _failed(context)


def _finished(context: ExitContext) -> tuple[Status, str, str]:
    """Return the outcome of a finished trainer by its LoRA's verification; mention a process that did not exit normally."""
    exit_words = "" if context.exit_code == 0 else _abnormal_exit(context)
    if context.is_verified:
        return Status.COMPLETED, "", exit_words and f"{exit_words}; its result was checked and is whole."
    fault = (context.verification.reason if context.verification is not None else "") or UNVERIFIED
    reason = f"{exit_words}, and {fault}." if exit_words else f"The trainer ended without an error, but {fault}."
    return Status.FAILED, ReasonCode.NOT_VERIFIED, reason


def _abnormal_exit(context: ExitContext) -> str:
    """Return how the process of a finished trainer ended, as a clause."""
    if context.stall is not None:
        return "It hung at its exit and was ended"
    if context.exit_code is None:
        return "Its process ended while nothing watched it"
    if context.stop_requested:
        return "It was done when Stop ended it"
    return f"It was done, but its process ended with {_exit_words(context.exit_code)}"


def _exit_words(code: int) -> str:
    return f"signal {signal_name(-code)}" if code < 0 else f"exit code {code}"


def _stalled_sentence(context: ExitContext, stall: Stall) -> str:
    tried = f" after {context.restarts} restart{'s' * (context.restarts != 1)} without progress" if context.restarts else ""
    return (
        f"It stalled{_at_step(context)}: no progress while {stall.phase} for {stall.idle_s:.0f} s{tried}. "
        f"The end of its log shows where it was stuck; remove the cause, then {context.again}."
    )


def _stopped_sentence(context: ExitContext) -> str:
    if context.stop_immediately:
        return f"Stopped by you at once{_at_step(context)}, without saving; {_lost(context)}."
    if context.was_killed:
        return f"Stopped by you{_at_step(context)}; it did not end by itself and was killed; {_lost(context)}."
    return f"Stopped by you{_at_step(context)}" + _saved(context)


def _saved(context: ExitContext) -> str:
    if context.saved_state:
        return "; its state was saved."
    return f"; {_lost(context)}." if context.steps_lost == 0 else f"; no state was saved at this step: {_lost(context)}."


def _lost(context: ExitContext) -> str:
    """Return what a stop without saving has lost, as a clause."""
    if context.steps_lost == 0:
        return "no trained step is lost" if context.has_checkpoint else "nothing had been trained yet"
    if not context.has_checkpoint:
        return "it has no checkpoint to resume from"
    if context.steps_lost is None:
        return "the steps since the last checkpoint are lost"
    return f"{context.steps_lost} step{'s' * (context.steps_lost != 1)} since the last checkpoint {'are' if context.steps_lost != 1 else 'is'} lost"


def _killed_sentence(context: ExitContext) -> str:
    if context.kernel_killed:
        return f"It was killed{_at_step(context)}, most likely because memory ran out: the kernel reports a kill for that reason."
    if context.exit_code is None:
        return f"Its process ended{_at_step(context)} while nothing watched it, so the cause is unknown."
    return f"The system or another program killed it{_at_step(context)} ({signal_name(-context.exit_code)})."


def _failed(context: ExitContext) -> tuple[Status, str, str]:
    line = context.last_line
    if line.get("reason_code"):
        return Status.FAILED, str(line["reason_code"]), _capitalized(str(line.get("reason") or line["reason_code"]))
    log_end = "\n".join(context.log_end)
    message = next((text.removeprefix(ERROR_PREFIX) for text in reversed(context.log_end) if text.startswith(ERROR_PREFIX)), "")
    if context.exit_code is not None and (exit_reason := REASON_OF_EXIT.get(context.exit_code)) is not None:
        return Status.FAILED, exit_reason, _capitalized(message) or SENTENCES[exit_reason].format(again=context.again)
    for code, phrases in PHRASES.items():
        if any(phrase in log_end for phrase in phrases):
            return Status.FAILED, code, SENTENCES[code].format(again=context.again)
    if message:
        return Status.FAILED, ReasonCode.BAD_INPUT, _capitalized(message)
    exit_words = _exit_words(context.exit_code or 0)
    reason = f"The trainer failed{_at_step(context)} with {exit_words}; the end of its log may show the cause."
    return Status.FAILED, ReasonCode.UNKNOWN, reason


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]


def _at_step(context: ExitContext) -> str:
    return at_step(context.last_line.get("step"), context.last_line.get("total_steps"))


def at_step(step: int | None, total: int | None) -> str:
    """Return how a reason names the step at which a training ended, "" if that is not known."""
    return f" at step {step} of {total}" if step and total else ""
