"""Parser of the output of kohya's trainer: phase, step, loss and so on, from its messages and progress bars. Opens no file.

kohya prints it in two ways: messages, which rich wraps at 80 columns, so that only their first words can be relied on; and tqdm's bars,
`steps:  12%|█▎        | 40/320 [00:52<06:04,  1.30s/it, avr_loss=0.123]`, which share a line with whatever is printed next.
"""

import math
import re
from dataclasses import dataclass

from fluxgym.contract.codes import Phase
from fluxgym.contract.files import epoch_suffix, step_suffix
from fluxgym.contract.training_log import has_attempt_header

PHASES = (
    (b"model saved.", Phase.DONE),
    (b"saving checkpoint:", Phase.SAVING),
    (b"saving state at", Phase.SAVING),
    (b"saving last state", Phase.SAVING),
    (b"generating sample", Phase.SAMPLING),
    (b"caching latents", Phase.CACHING),
    (b"caching Text Encoder", Phase.CACHING),
    (b"caching text encoder", Phase.CACHING),
    (b"cache Text Encoder", Phase.CACHING),
    (b"checking cache", Phase.CACHING),
    (b"preparing accelerator", Phase.LOADING),
    (b"Loading state dict from", Phase.LOADING),
    (b"import network module:", Phase.LOADING),
    (b"prepare optimizer, data", Phase.LOADING),
    (b"running training", Phase.TRAINING),
)
STEPS = re.compile(rb"steps: {1,9}\d{1,3}%\|[^|]{0,999}\| {1,9}(\d{1,12})/(\d{1,12}) \[([^\]]{0,999})\]")
ITEMS = re.compile(rb"\d{1,3}%\|[^|]{0,999}\| {1,9}(\d{1,12})/(\d{1,12}) \[")
RATE = re.compile(rb", *(\d{1,12}(?:\.\d{1,12})?)(s/it|it/s)")
LOSS = re.compile(rb"avr_loss=([^,\s\]]+)")
EPOCH = re.compile(rb"^epoch (\d{1,9})/(\d{1,9})$")
NUMBERS = re.compile(rb"(total optimization steps|num batches per epoch|gradient accumulation steps) .*[:=] (\d{1,12})$")
STATE = re.compile(rb"saving (?:state at (epoch|step) (\d{1,12})|last state)")
WITH_ITEMS = frozenset({Phase.CACHING, Phase.SAMPLING})


@dataclass(frozen=True)
class SavedState:
    """A state that kohya is writing: the suffix of its folder's name without the ending, and the position in the training that it is saved at."""

    suffix: str
    step: int
    epoch: int
    total_steps: int


class KohyaOutput:
    """The state of a training, from what it has printed since its attempt started. step and total_steps count over all attempts.

    kohya's own bar starts at 0 when it resumes, and its first epoch is the one that it resumes in, so the steps before that epoch are added.
    """

    def __init__(self) -> None:
        self.has_started = False
        self._clear()

    def _clear(self) -> None:
        self.phase = Phase.LOADING
        self.step = self.total_steps = self.epoch = 0
        self.loss: float | None = None
        self.s_per_it: float | None = None
        self.items: tuple[int, int] | None = None
        self.saved: list[SavedState] = []
        self._steps_before: int | None = None
        self._numbers: dict[bytes, int] = {}

    def feed_line(self, line: bytes) -> None:
        """Read one complete line, or one refresh of a bar."""
        if has_attempt_header(line):  # may follow the last bar of a killed trainer on the same line
            self._clear()
            self.has_started = True
            return
        self.feed_bar(line)
        self._update_epoch(line.strip())
        phase = next((phase for words, phase in PHASES if words in line), None)
        if phase is not None:
            self._enter(phase)
        if phase == Phase.SAVING and (match := STATE.search(line)):
            self._update_state((match[1] or b"").decode(), int(match[2] or 0))
        if match := NUMBERS.search(line.strip()):
            self._numbers[match[1]] = int(match[2])
            self.total_steps = self._numbers.get(b"total optimization steps", 0)

    def feed_bar(self, line: bytes) -> None:
        """Read the bar in a line if it is complete; the same bar may be fed twice."""
        if b"%|" not in line or self.phase == Phase.DONE:
            return
        if line.startswith(b"steps:") and (match := STEPS.match(line)):
            self._enter(Phase.TRAINING)
            self._update_steps(int(match[1]), int(match[2]))
            self._update_speed_and_loss(match[3])
        elif (self.phase in WITH_ITEMS or b"validation steps" in line) and (match := ITEMS.search(line)):
            self.items = int(match[1]), int(match[2])

    def fields(self) -> dict[str, object]:
        """Return the fields of a line of progress.jsonl, without those that are unknown."""
        done, total = self.items or (None, None)
        fields: dict[str, object] = {"phase": self.phase, "step": self.step}
        fields |= {"total_steps": self.total_steps or None, "epoch": self.epoch or None, "item": done, "num_items": total}
        if self.phase == Phase.TRAINING:
            fields |= {"loss": self.loss, "s_per_it": self.s_per_it}
        return {name: value for name, value in fields.items() if value is not None}

    def _enter(self, phase: Phase) -> None:
        if phase != self.phase and self.phase != Phase.DONE:  # kohya draws its last bar once more at the end
            self.phase, self.items = phase, None

    def _update_steps(self, step: int, bar_total: int) -> None:
        self.total_steps = max(self.total_steps, bar_total)
        if self._steps_before is None:
            return
        before = self._steps_before or self.total_steps - bar_total
        position = min(before + step, self.total_steps)
        if position != self.step:
            self.step, self.items = position, None

    def _update_speed_and_loss(self, text: bytes) -> None:
        if match := RATE.search(text):
            value = float(match[1])
            seconds = value if match[2] == b"s/it" else 1 / value if value else 0.0
            self.s_per_it = round(seconds, 4) or None
        if match := LOSS.search(text):
            self.loss = _finite(match[1])

    def _update_epoch(self, line: bytes) -> None:
        """Read the start of an epoch; the first one of an attempt determines how many steps were done before."""
        match = EPOCH.match(line)
        if match is None:
            return
        self._enter(Phase.TRAINING)
        self.epoch = int(match[1])
        if self._steps_before is None:
            batches = self._numbers.get(b"num batches per epoch", 0)
            per_epoch = math.ceil(batches / max(1, self._numbers.get(b"gradient accumulation steps", 1)))
            self._steps_before = max(0, self.epoch - 1) * (per_epoch or math.ceil(self.total_steps / max(1, int(match[2]))))
            self.step = min(self._steps_before, self.total_steps)

    def _update_state(self, kind: str, number: int) -> None:
        """Read the position that a state is saved at."""
        if kind == "step":
            self.step = max(self.step, min((self._steps_before or 0) + number, self.total_steps or number))
            self._save(step_suffix(number), max(0, self.epoch - 1))
        elif kind == "epoch":
            self._save(epoch_suffix(number), number)
        else:
            self._save("", self.epoch)

    def _save(self, suffix: str, epochs_done: int) -> None:
        self.saved.append(SavedState(suffix, self.step, epochs_done, self.total_steps))


def _finite(text: bytes) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
