"""What Resume would do, told before it is done. Looks at sizes only: hashes are checked when it is done."""

from dataclasses import dataclass

from fluxgym.errors import UnreadableState
from fluxgym.launch.order import ran_foreign, read_launch
from fluxgym.run.checkpoints import Checkpoint, list_complete
from fluxgym.run.exit_record import read_exit
from fluxgym.run.paths import RunPaths
from fluxgym.run.progress import read_last_training
from fluxgym.run.status import Status, is_unchecked
from fluxgym.run.ui_state import State, read_state


@dataclass(frozen=True, kw_only=True)
class ResumeOffer:
    """From which checkpoint a run would go on, and how much is left. left_s is None when its speed is not known."""

    checkpoint: str
    step: int
    epoch: int
    total_steps: int
    left_s: float | None
    is_exact: bool = True

    def sentence(self) -> str:
        """Say it: "from epoch 4, step 320 of 960, about 21 min left"."""
        epoch = f"epoch {self.epoch}, " if self.epoch else ""
        left = "" if self.left_s is None else f", about {_duration(self.left_s)} left"
        inexact = "" if self.is_exact else "; inexactly: kohya's trainer takes the pictures in another order than without the stop"
        return f"from {epoch}step {self.step} of {self.total_steps or 'an unknown number'}{left}{inexact}"


def needs_check(run: RunPaths) -> bool:
    """Say whether a trainer finished unwatched or its check was stopped, so that its result only has to be checked."""
    order, end = read_launch(run), read_exit(run)
    if order is None or _state(run).get("status") == Status.COMPLETED:
        return False
    is_told = end is not None and (end.run_id, end.attempt) == (order.run_id, order.attempt)
    was_stopped = end is not None and end.status == Status.STOPPED and not end.verified
    return (not is_told or was_stopped) and is_unchecked(run, order.attempt)


def resume_offer(run: RunPaths) -> ResumeOffer | None:
    """Return what Resume would do, None when the run has no settings, left no complete checkpoint or has done all its steps."""
    state = _state(run)
    if not state:
        return None
    newest = next(iter(list_complete(run, exact=not ran_foreign(run))), None)
    if newest is None:
        return None
    total = _total_steps(run, state, newest)
    if _done(run, newest) >= total > 0:
        return None
    speed = (read_last_training(run.progress) or {}).get("s_per_it")
    left = max(0, total - newest.step)
    return ResumeOffer(
        checkpoint=newest.name, step=newest.step, epoch=newest.epoch, total_steps=total, is_exact=newest.is_exact,
        left_s=left * speed if isinstance(speed, (int, float)) and speed > 0 and left else None,
    )  # fmt: skip


def _state(run: RunPaths) -> State:
    try:
        return read_state(run)
    except UnreadableState:
        return {}


def _done(run: RunPaths, newest: Checkpoint) -> int:
    """Return how many steps are done: all of them, after an end that was verified, though the last checkpoint may be older."""
    end = read_exit(run)
    return (end.last_step or newest.step) if end is not None and end.status == Status.COMPLETED else newest.step


def _total_steps(run: RunPaths, state: State, newest: Checkpoint) -> int:
    """Return the steps of the whole training: the checkpoint's own, or more or fewer when the epochs were changed since."""
    order, epochs = read_launch(run), state.get("max_train_epochs")
    try:
        before = int(order.argv[order.argv.index("--max_train_epochs") + 1]) if order else 0
        now = int(epochs) if epochs is not None else before
    except (ValueError, IndexError, TypeError, OverflowError):
        return newest.total_steps
    return newest.total_steps * now // before if before > 0 < now else newest.total_steps


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
