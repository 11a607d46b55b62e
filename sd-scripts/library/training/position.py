"""The position of a training: its start, its progress and its end."""

from dataclasses import dataclass, fields, replace
from pathlib import Path

from library.config import StartConfig, TrainerConfig
from library.errors import CheckpointError, TrainerError
from library.training.checkpoint import TrainState, read_train_state
from library.training.kohya_state import is_kohya_state, position_of


@dataclass(frozen=True, kw_only=True)
class Position:
    """The position of a training: completed steps, completed epochs, used batches of the current epoch; and the total steps and epochs."""

    step: int = 0
    epoch: int = 0
    batch_in_epoch: int = 0
    total_steps: int
    num_epochs: int
    is_resumed: bool = False

    @property
    def is_at_end(self) -> bool:
        """Return True if no step is left."""
        return self.epoch >= self.num_epochs or self.step >= self.total_steps

    @property
    def current_epoch(self) -> int:
        """The number of the epoch that the next step belongs to, counted from 1."""
        return self.epoch + 1

    @property
    def epochs_begun(self) -> int:
        """The number of epochs of which at least one step was made, including an epoch that the last step of the training cuts short."""
        return self.epoch + bool(self.batch_in_epoch)

    def after_step(self, batch_in_epoch: int) -> "Position":
        """Return the position after one more step, which ended before the given batch."""
        return replace(self, step=self.step + 1, batch_in_epoch=batch_in_epoch)

    def after_epoch(self) -> "Position":
        """Return the position at the start of the next epoch."""
        return replace(self, epoch=self.epoch + 1, batch_in_epoch=0)


def read_checkpoint(config: TrainerConfig, steps_per_epoch: int) -> TrainState | None:
    """Return the verified state of the checkpoint to resume from, None without --resume.

    Raises:
        TrainerError: If it cannot be used.
    """
    folder = config.run.resume
    if folder is None:
        return None
    start = config.run.start.flags()
    if is_kohya_state(folder):
        return replace(position_of(folder, config, steps_per_epoch), begun_by=start)
    state = read_train_state(folder)
    if start not in ({}, state.begun_by):
        raise TrainerError(f"--resume {folder} has its own position in the training; leave --initial_step and --initial_epoch out.")
    return state


def check_batch(state: TrainState, num_batches: int, folder: Path | None) -> None:
    """Raise CheckpointError if a checkpoint is at a batch that an epoch of this training does not have: the epoch would never end."""
    if folder is not None and state.batch_in_epoch > num_batches:
        raise CheckpointError(
            f"--resume {folder} is damaged: it is at batch {state.batch_in_epoch} of an epoch, which has {num_batches} batches.",
            folder.name,
        )


def start_position(config: TrainerConfig, steps_per_epoch: int, checkpoint: TrainState | None) -> Position:
    """Return where a training begins: at its checkpoint, else at --initial_step or --initial_epoch, else at zero.

    A resumed training has as many steps as the one that wrote the checkpoint would have by its start flags and the present length.

    Raises:
        TrainerError: If nothing is left to train, or the checkpoint is damaged.
    """
    if checkpoint is None:
        return _first_position(config, steps_per_epoch, config.run.start)
    first = _first_position(config, steps_per_epoch, _start_of(checkpoint, config))
    if checkpoint.step > first.total_steps:
        raise TrainerError(
            f"--resume {config.run.resume} is at step {checkpoint.step}, beyond the {first.total_steps} steps of this training: "
            "nothing is left to train."
        )
    if checkpoint.epoch >= first.num_epochs and checkpoint.step < first.total_steps:
        raise CheckpointError(
            f"--resume {config.run.resume} is damaged: it is at epoch {checkpoint.epoch} of {first.num_epochs}, but at step {checkpoint.step} of "
            f"{first.total_steps}.",
            _name(config),
        )
    return replace(first, step=checkpoint.step, epoch=checkpoint.epoch, batch_in_epoch=checkpoint.batch_in_epoch, is_resumed=True)


def _start_of(checkpoint: TrainState, config: TrainerConfig) -> StartConfig:
    """Return the flags of the initial position that a checkpoint records.

    Raises:
        CheckpointError: If they are not flags of an initial position.
    """
    flags = {each.name: type(each.default) for each in fields(StartConfig) if each.default is not None}
    for name, value in checkpoint.begun_by.items():
        if name not in StartConfig.__annotations__ or type(value) is not flags.get(name, int):
            raise CheckpointError(f"--resume {config.run.resume} is damaged: it was begun by {name} = {value!r:.40}.", _name(config))
    return StartConfig(**checkpoint.begun_by)


def _name(config: TrainerConfig) -> str:
    return config.run.resume.name if config.run.resume is not None else ""


def _first_position(config: TrainerConfig, steps_per_epoch: int, start: StartConfig) -> Position:
    """Return the position of a training that is not resumed.

    As in kohya, only --skip_until_initial_step leaves out the steps before it; without it the epochs are merely counted from there. The
    learning rate schedule begins at its beginning in both cases.

    Raises:
        TrainerError: If nothing is left to train.
    """
    num_epochs, num_steps = config.run.length(steps_per_epoch)
    step = start.initial_step if start.initial_step is not None else ((start.initial_epoch or 1) - 1) * steps_per_epoch
    if step and step >= num_steps:
        flag = f"--initial_step {step}" if start.initial_step is not None else f"--initial_epoch {start.initial_epoch}"
        raise TrainerError(f"{flag} leaves nothing to train: the training has {num_steps} steps.")
    epoch, steps_in_epoch = divmod(step, steps_per_epoch)
    if start.skip_until_initial_step:
        batch = steps_in_epoch * config.optim.gradient_accumulation_steps
        return Position(step=step, epoch=epoch, batch_in_epoch=batch, total_steps=num_steps, num_epochs=num_epochs)
    return Position(epoch=epoch, total_steps=min(num_steps, (num_epochs - epoch) * steps_per_epoch), num_epochs=num_epochs)
