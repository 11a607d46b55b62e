"""From how the trainer's process ended to what is said of the run: status, reason_code and one sentence. Never a guess."""

import signal
from dataclasses import dataclass
from typing import Any

from fluxgym.run.status import DerivedStatus, Status

STOPPED_CODE = 143
PHRASES = {
    "cuda_oom": ("CUDA out of memory", "torch.OutOfMemoryError"),
    "disk_full": ("No space left on device", "Disk quota exceeded"),
    "driver": ("CUDA driver version is insufficient", "no kernel image is available"),
}
SENTENCES = {
    "cuda_oom": "The GPU ran out of memory; choose a tier for less VRAM or a smaller resolution, then resume.",
    "disk_full": "The disk is full; free some space, then resume.",
    "driver": "PyTorch and the GPU's driver do not fit together; update the driver.",
}


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known at a trainer's end. exit_code is negative for a signal, None when it cannot be known."""

    exit_code: int | None
    stop_requested: bool
    had_to_kill: bool
    asked_at_once: bool
    last_line: dict[str, Any]
    log_end: list[str]
    kernel_killed: bool
    verdict: dict[str, Any] | None
    saved_state: bool


def judge(evidence: Evidence) -> DerivedStatus:
    """Return the status a run has ended in, and why."""
    code = evidence.exit_code
    if code == 0:
        return _finished(evidence)
    if evidence.stop_requested and code in (STOPPED_CODE, None, -signal.SIGTERM, -signal.SIGKILL):
        return DerivedStatus(Status.STOPPED, "user", _stopped_sentence(evidence))
    if code == STOPPED_CODE:
        return DerivedStatus(Status.STOPPED, "interrupted", f"Something outside FluxGym asked it to stop{_at(evidence)}" + _saved(evidence))
    if code == -signal.SIGKILL or code == -signal.SIGTERM or code is None:
        return DerivedStatus(Status.STOPPED, "interrupted", _killed_sentence(evidence))
    return _failed(evidence)


def _finished(evidence: Evidence) -> DerivedStatus:
    verdict = evidence.verdict or {}
    if verdict.get("ok"):
        return DerivedStatus(Status.COMPLETED)
    return DerivedStatus(
        Status.FAILED,
        "not_verified",
        f"The trainer ended without an error, but {verdict.get('reason') or 'its result could not be checked'}.",
    )


def _stopped_sentence(evidence: Evidence) -> str:
    if evidence.asked_at_once:
        return f"Stopped by you at once{_at(evidence)}, without saving; steps since the last checkpoint are lost."
    if evidence.had_to_kill:
        return f"Stopped by you{_at(evidence)}; it did not end by itself and was killed, so steps since the last checkpoint are lost."
    return f"Stopped by you{_at(evidence)}" + _saved(evidence)


def _saved(evidence: Evidence) -> str:
    return "; its state was saved." if evidence.saved_state else "; no state was saved at this step."


def _killed_sentence(evidence: Evidence) -> str:
    if evidence.kernel_killed:
        return f"It was killed{_at(evidence)}, and the kernel reports a kill for want of memory: the memory most likely ran out."
    if evidence.exit_code is None:
        return f"Its process ended{_at(evidence)} while nobody watched; how is not known."
    name = signal.Signals(-evidence.exit_code).name
    return f"It was killed from outside ({name}){_at(evidence)}; by whom is not known."


def _failed(evidence: Evidence) -> DerivedStatus:
    line = evidence.last_line
    if line.get("reason_code"):
        return DerivedStatus(Status.FAILED, str(line["reason_code"]), _sentence(str(line.get("reason") or line["reason_code"])))
    end = "\n".join(evidence.log_end)
    for code, phrases in PHRASES.items():
        if any(phrase in end for phrase in phrases):
            return DerivedStatus(Status.FAILED, code, SENTENCES[code])
    said = next((text.removeprefix("error: ") for text in reversed(evidence.log_end) if text.startswith("error: ")), "")
    if said:
        return DerivedStatus(Status.FAILED, "bad_input", _sentence(said))
    number = evidence.exit_code or 0
    how = f"signal {signal.Signals(-number).name}" if number < 0 else f"exit code {number}"
    return DerivedStatus(Status.FAILED, "unknown", f"The trainer broke off{_at(evidence)} with {how}; the end of its log may say why.")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _at(evidence: Evidence) -> str:
    step, total = evidence.last_line.get("step"), evidence.last_line.get("total_steps")
    return f" at step {step} of {total}" if step and total else ""
