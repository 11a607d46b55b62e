"""Where a training begins: at zero, by the flags, or at a checkpoint; and how its position moves."""

from dataclasses import replace

import pytest

from library.errors import CheckpointError, TrainerError
from library.training import position
from library.training.checkpoint import TrainState
from library.training.position import Position, check_batch, read_checkpoint, start_position
from tests.support.trainer_config import trainer_config

STATE = TrainState(step=13, epoch=1, batch_in_epoch=6, total_steps=40, seed=1, fixed={})
LENGTH = {"max_train_epochs": 4, "gradient_accumulation_steps": 2}  # 10 steps of 2 batches per epoch


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, (0, 0, 0, 40)),
        ({"initial_epoch": 1}, (0, 0, 0, 40)),
        ({"initial_epoch": 3}, (0, 2, 0, 20)),
        ({"initial_step": 25}, (0, 2, 0, 20)),
        ({"initial_epoch": 3, "skip_until_initial_step": True}, (20, 2, 0, 40)),
        ({"initial_epoch": 2, "initial_step": 25, "skip_until_initial_step": True}, (25, 2, 10, 40)),
    ],
)
def test_training_begins_where_flags_report(flags, expected):
    found = start_position(trainer_config(**LENGTH, **flags), 10, None)
    assert (found.step, found.epoch, found.batch_in_epoch, found.total_steps) == expected
    assert (found.num_epochs, found.is_resumed) == (4, False)


def test_max_train_steps_ends_inside_epoch():
    found = start_position(trainer_config(max_train_steps=25), 10, None)
    assert (found.total_steps, found.num_epochs) == (25, 3)


def test_checkpoint_is_where_resumed_training_begins():
    found = start_position(trainer_config(**LENGTH), 10, STATE)
    assert found == Position(step=13, epoch=1, batch_in_epoch=6, total_steps=40, num_epochs=4, is_resumed=True)


def test_checkpoint_brings_start_flags_of_its_training():
    """Without --skip_until_initial_step 3 of 4 epochs are left, so the resumed training has 30 steps, too."""
    state = replace(STATE, begun_by={"initial_epoch": 2})
    assert start_position(trainer_config(**LENGTH), 10, state).total_steps == 30


def test_resume_without_remaining_steps_is_refused():
    with pytest.raises(TrainerError, match="--initial_step 40 leaves nothing"):
        start_position(trainer_config(**LENGTH, initial_step=40), 10, None)
    with pytest.raises(TrainerError, match="--initial_epoch 5 leaves nothing"):
        start_position(trainer_config(**LENGTH, initial_epoch=5), 10, None)
    with pytest.raises(TrainerError, match="is at step 13, beyond the 10"):
        start_position(trainer_config(max_train_epochs=1), 10, STATE)


def test_start_flags_beside_checkpoint_must_be_its_own(tmp_path, monkeypatch):
    begun = replace(STATE, begun_by={"initial_epoch": 2})
    monkeypatch.setattr(position, "read_train_state", lambda folder: begun)
    for flags in ({"initial_epoch": 2}, {}):
        assert read_checkpoint(trainer_config(resume=tmp_path, **flags), 10) is begun
    with pytest.raises(TrainerError, match="leave --initial_step"):
        read_checkpoint(trainer_config(resume=tmp_path, initial_step=4), 10)
    assert read_checkpoint(trainer_config(), 10) is None


def test_position_moves_by_steps_and_epochs():
    first = Position(total_steps=5, num_epochs=3)
    assert (first.current_epoch, first.epochs_begun, first.is_at_end) == (1, 0, False)
    inside = first.after_step(2)
    assert (inside.step, inside.batch_in_epoch, inside.epochs_begun) == (1, 2, 1)
    second = inside.after_epoch()
    assert (second.step, second.epoch, second.batch_in_epoch, second.epochs_begun, second.current_epoch) == (1, 1, 0, 1, 2)
    assert replace(second, step=5).is_at_end
    assert replace(second, epoch=3).is_at_end


def test_checkpoint_at_batch_that_no_epoch_has_is_refused(tmp_path):
    check_batch(STATE, 6, tmp_path / "cat-state")
    with pytest.raises(CheckpointError, match="is at batch 6 of an epoch, which has 5 batches") as caught:
        check_batch(STATE, 5, tmp_path / "cat-state")
    assert caught.value.checkpoint == "cat-state"


def test_checkpoint_beyond_last_epoch_with_steps_left_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="at epoch 4 of 4, but at step 13 of 40"):
        start_position(trainer_config(**LENGTH, resume=tmp_path / "cat-state"), 10, replace(STATE, epoch=4))


@pytest.mark.parametrize("begun", [{"initial_epoch": "2"}, {"initial_step": True}, {"another": 1}, {"skip_until_initial_step": 1}])
def test_checkpoint_that_records_other_start_flags_is_refused(tmp_path, begun):
    with pytest.raises(CheckpointError, match="it was begun by"):
        start_position(trainer_config(**LENGTH, resume=tmp_path / "cat-state"), 10, replace(STATE, begun_by=begun))
