"""What a user can do about a run that ended early: a title and plain advice for each reason code."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fluxgym.config.vram_tiers import TIERS
from fluxgym.contract.codes import ReasonCode


@dataclass(frozen=True, kw_only=True)
class Advice:
    """Advice about one reason code: title is the cause in a few words; lines are the remedies, the most likely first.

    If names_step, the page adds the last completed step to the title, such as "after step 41". needs_less are changes of settings that save
    memory; `lines_for` adds those that are possible for a run.
    """

    title: str
    lines: tuple[str, ...]
    needs_less: tuple[str, ...] = ()
    names_step: bool = False

    def lines_for(self, state: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the lines for a run with these settings. A setting that is at its minimum already is left out."""
        possible = [change for change in self.needs_less if change not in _impossible(state)]
        choice = " or ".join([", ".join(possible[:-1]), possible[-1]] if len(possible) > 1 else possible)
        return (*self.lines, f"{EDIT}, and choose {choice}.") if possible else self.lines


EDIT_LABEL = "Edit as new training"  # the button that fills the form with a run's settings
REPAIR_LABEL = "Repair"
START_LABEL, START_AGAIN_LABEL = "Start", "Start again"  # the button that starts a run in its own folder, from the beginning
EDIT = f"Choose “{EDIT_LABEL}”"
VRAM, BATCH, WORKERS = "less GPU memory (VRAM)", "a smaller batch", "fewer workers"
CLOSE_GPU_PROGRAMS = "Close other programs that use the GPU."
TABLE = {
    ReasonCode.BAD_INPUT: Advice(
        title="A setting or an image cannot be used",
        lines=(f"{EDIT}, correct what the sentence names, and start again.",),
    ),
    ReasonCode.BAD_MODEL: Advice(
        title="A model file cannot be used",
        lines=("Replace the file that the sentence names with the right one, or select another base model.",),
    ),
    ReasonCode.BAD_OUTPUT: Advice(
        title="The LoRA that was saved is not usable",
        lines=(
            f"{EDIT}, raise the learning rate or the LoRA alpha, and start again.",
            "Check that the disk is healthy and has free space.",
        ),
    ),
    ReasonCode.CUDA_OOM: Advice(
        title="The GPU ran out of memory",
        lines=(CLOSE_GPU_PROGRAMS,),
        needs_less=(VRAM, "a smaller resolution", BATCH),
        names_step=True,
    ),
    ReasonCode.DISK_FULL: Advice(
        title="The disk is full",
        lines=("Free disk space. Old runs and their checkpoints usually take the most.",),
    ),
    ReasonCode.DRIVER: Advice(
        title="PyTorch and the GPU’s driver do not fit together",
        lines=("Update the GPU’s driver, or install the build of PyTorch that is made for it.",),
    ),
    ReasonCode.INTERRUPTED: Advice(
        title="It was interrupted",
        lines=("The settings are not the cause.", "If memory ran out, close other programs before you continue."),
        names_step=True,
    ),
    ReasonCode.LAUNCH: Advice(
        title="The trainer could not be started",
        lines=("Remove the cause that the sentence names, and start again.",),
    ),
    ReasonCode.NAN: Advice(
        title="The training produced NaN",
        lines=(f"{EDIT}, lower the learning rate, and start again.",),
        names_step=True,
    ),
    ReasonCode.NOT_VERIFIED: Advice(
        title="The LoRA did not pass the check",
        lines=("Check that the disk has free space.", "Do not use the LoRA file of this run before it has passed the check."),
    ),
    ReasonCode.RAM_OOM: Advice(
        title="The machine ran out of memory",
        lines=("Close other programs.",),
        needs_less=(WORKERS, BATCH),
        names_step=True,
    ),
    ReasonCode.STALLED: Advice(
        title="The training stalled",
        lines=("The end of the log shows what it was doing.", "Slow network drives and a busy GPU are common causes."),
        names_step=True,
    ),
    ReasonCode.STORAGE: Advice(
        title="A file could not be written",
        lines=("Check the permissions and the free space of the outputs folder.",),
    ),
    ReasonCode.SUPERVISOR: Advice(
        title="The process that watches the run failed",
        lines=("The error is in the monitor’s log below. The trainer’s log may be complete.",),
    ),
    ReasonCode.UNREADABLE: Advice(
        title="The run’s settings cannot be read",
        lines=(
            f"Choose “{REPAIR_LABEL}”: it restores the settings from the history, or from the run’s other files. The damaged file is kept.",
        ),
    ),
    ReasonCode.USER: Advice(title="Stopped by you", lines=()),
    ReasonCode.UNKNOWN: Advice(
        title="The cause is not known",
        lines=("The last lines of the log may show it.",),
    ),
}


def _impossible(state: Mapping[str, Any]) -> set[str]:
    """Return the changes that are impossible for a run, because its settings are at their minimum."""
    advanced = state.get("advanced")
    batch = advanced.get("train_batch_size", 1) if isinstance(advanced, Mapping) else 1
    least = {VRAM: state.get("vram") == tuple(TIERS)[-1], BATCH: batch in (1, None), WORKERS: state.get("workers") == 0}
    return {change for change, is_least in least.items() if is_least}


def advice_for(reason_code: str) -> Advice:
    """Return the advice for a reason code; a code of another version gets the advice for an unknown cause."""
    try:
        return TABLE[ReasonCode(reason_code)]
    except ValueError:
        return TABLE[ReasonCode.UNKNOWN]
