"""From how the trainer ended to what is said of the run: status, reason_code and one sentence. Gathers evidence; never guesses."""

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fluxgym.contract.codes import ReasonCode, Status
from fluxgym.runs.progress import is_done
from fluxgym.runs.status import SessionStatus
from fluxgym.supervisor.stall import Stall

STOPPED_CODE = 143
PHRASES = {
    ReasonCode.CUDA_OOM: ("CUDA out of memory", "torch.OutOfMemoryError"),
    ReasonCode.DISK_FULL: ("No space left on device", "Disk quota exceeded"),
    ReasonCode.DRIVER: ("CUDA driver version is insufficient", "no kernel image is available"),
}
CHECK_STOPPED = "Stopped by you while its result was being checked; Resume checks it again."
SENTENCES = {
    ReasonCode.CUDA_OOM: "The GPU ran out of memory; choose a tier for less VRAM or a smaller resolution, then resume.",
    ReasonCode.DISK_FULL: "The disk is full; free some space, then resume.",
    ReasonCode.DRIVER: "PyTorch and the GPU's driver do not fit together; update the driver.",
}


@dataclass(frozen=True, kw_only=True)
class ExitContext:
    """What is known at a trainer's end. exit_code is negative for a signal, None when it cannot be known."""

    exit_code: int | None
    stop_requested: bool
    was_killed: bool
    stop_immediately: bool
    last_line: dict[str, Any]
    log_end: list[str]
    kernel_killed: bool
    verdict: dict[str, Any] | None
    saved_state: bool
    has_checkpoint: bool = True
    stall: Stall | None = None
    restarts: int = 0
    check_stopped: bool = False

    @property
    def is_done(self) -> bool:
        """Return True if the trainer's last word was that it is through."""
        return is_done(self.last_line)

    @property
    def is_verified(self) -> bool:
        """Return True if what it left was found whole."""
        return bool(self.verdict and self.verdict.get("ok"))


def classify(context: ExitContext) -> SessionStatus:
    """Return the status a run has ended in, and why.

    A trainer whose last word is that it is done has finished, whatever became of its process afterwards: its result decides.
    """
    code, stopped = context.exit_code, context.stop_requested
    if context.check_stopped:
        return SessionStatus(Status.STOPPED, "user", CHECK_STOPPED if context.is_done else CHECK_STOPPED.partition(";")[0] + ".")
    if context.is_done and (context.is_verified or not stopped):
        return _finished(context)
    if context.stall is not None and not stopped:
        return SessionStatus(Status.FAILED, "stalled", _stalled_sentence(context, context.stall))
    if code == 0:
        return _finished(context)
    if stopped and code in (STOPPED_CODE, None, -signal.SIGTERM, -signal.SIGKILL):
        return SessionStatus(Status.STOPPED, "user", _stopped_sentence(context))
    if code == STOPPED_CODE:
        return SessionStatus(Status.STOPPED, "interrupted", f"Something outside FluxGym asked it to stop{_at(context)}" + _saved(context))
    if code == -signal.SIGKILL or code == -signal.SIGTERM or code is None:
        return SessionStatus(Status.STOPPED, "interrupted", _killed_sentence(context))
    return _failed(context)


def _finished(context: ExitContext) -> SessionStatus:
    """Judge a trainer by what it left; a process that did not end of itself and in order is told of."""
    end = "" if context.exit_code == 0 else _odd_end(context)
    if context.is_verified:
        return SessionStatus(Status.COMPLETED, "", end and f"{end}; its result was checked and is whole.")
    fault = (context.verdict or {}).get("reason") or "its result could not be checked"
    joined = f"{end}, and {fault}." if end else f"The trainer ended without an error, but {fault}."
    return SessionStatus(Status.FAILED, "not_verified", joined)


def _odd_end(context: ExitContext) -> str:
    """Say how the process of a trainer ended that was done before, without a full stop."""
    if context.stall is not None:
        return "It hung at its exit and was ended"
    if context.exit_code is None:
        return "Its process ended while nobody watched"
    if context.stop_requested:
        return "It was done when Stop ended it"
    return f"It was done, but its process ended with {exit_words(context.exit_code)}"


def exit_words(code: int) -> str:
    """Name an exit code, which is negative for a signal: "exit code 1", "signal SIGSEGV"."""
    return f"signal {signal_name(-code)}" if code < 0 else f"exit code {code}"


def signal_name(number: int) -> str:
    """Return a signal's name; those for real-time use have none of their own and count from SIGRTMIN."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"


def _stalled_sentence(context: ExitContext, stall: Stall) -> str:
    tried = f" after {context.restarts} restart{'s' * (context.restarts != 1)} without progress" if context.restarts else ""
    return (
        f"It stalled{_at(context)}: no progress while {stall.phase} for {stall.idle_s:.0f} s{tried}. "
        "The end of its log says where it was stuck; resume it once the cause is gone."
    )


def _stopped_sentence(context: ExitContext) -> str:
    if context.stop_immediately:
        return f"Stopped by you at once{_at(context)}, without saving; {_lost(context)}."
    if context.was_killed:
        return f"Stopped by you{_at(context)}; it did not end by itself and was killed; {_lost(context)}."
    return f"Stopped by you{_at(context)}" + _saved(context)


def _saved(context: ExitContext) -> str:
    return "; its state was saved." if context.saved_state else f"; no state was saved at this step: {_lost(context)}."


def _lost(context: ExitContext) -> str:
    return "the steps since the last checkpoint are lost" if context.has_checkpoint else "it has left no checkpoint to resume from"


def _killed_sentence(context: ExitContext) -> str:
    if context.kernel_killed:
        return f"It was killed{_at(context)}, and the kernel reports a kill for want of memory: the memory most likely ran out."
    if context.exit_code is None:
        return f"Its process ended{_at(context)} while nobody watched; how is not known."
    return f"It was killed from outside ({signal_name(-context.exit_code)}){_at(context)}; by whom is not known."


def _failed(context: ExitContext) -> SessionStatus:
    line = context.last_line
    if line.get("reason_code"):
        return SessionStatus(Status.FAILED, str(line["reason_code"]), _sentence(str(line.get("reason") or line["reason_code"])))
    end = "\n".join(context.log_end)
    for code, phrases in PHRASES.items():
        if any(phrase in end for phrase in phrases):
            return SessionStatus(Status.FAILED, code, SENTENCES[code])
    said = next((text.removeprefix("error: ") for text in reversed(context.log_end) if text.startswith("error: ")), "")
    if said:
        return SessionStatus(Status.FAILED, "bad_input", _sentence(said))
    how = exit_words(context.exit_code or 0)
    return SessionStatus(Status.FAILED, "unknown", f"The trainer broke off{_at(context)} with {how}; the end of its log may say why.")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _at(context: ExitContext) -> str:
    step, total = context.last_line.get("step"), context.last_line.get("total_steps")
    return f" at step {step} of {total}" if step and total else ""


def kernel_oom_kills() -> int:
    """Return how often the kernel has killed in this control group for want of memory; 0 when it does not say."""
    try:
        lines = Path("/sys/fs/cgroup/memory.events").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
    except (OSError, StopIteration, ValueError):
        return 0
