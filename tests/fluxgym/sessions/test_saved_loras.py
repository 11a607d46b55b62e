"""The LoRA files of a run say at which epoch and step they were saved, which of them is the best, and from which one can resume."""

import math

import pytest

from fluxgym.contract.codes import Status
from fluxgym.runs.exit_record import ExitRecord, write_exit_record
from fluxgym.sessions.run_metrics import NO_RECORD, TrainingRecord
from fluxgym.sessions.saved_loras import best_lora, saved_loras
from tests.support.runs import make_run, write_checkpoint
from tests.support.small_installation import write_safetensors

RECORD = TrainingRecord(validation={20: 0.3, 40: 0.2, 60: 0.25}, epoch_ends={1: 20, 2: 40, 3: 60}, spans={})


@pytest.fixture(name="run")
def fixture_run(tmp_path):
    run = make_run(tmp_path, "cat", status="completed")
    known = {"reason_code": "", "reason": "", "started_at": 1000.0, "ended_at": 1090.0}
    write_exit_record(run, ExitRecord(run_id="id-cat", attempt=1, status="completed", last_step=60, **known))
    return run


def save(run, *names):
    for name in names:
        write_safetensors(run.folder / f"{name}.safetensors", 2_500_000)


def saved(run, record=RECORD, status=Status.COMPLETED):
    """Return (name without its ending, epoch, step, validation loss, is final) of each file."""
    return [(lora.path.stem, lora.epoch, lora.step, lora.val_loss, lora.is_final) for lora in saved_loras(run, record, status=status)]


def test_files_have_epoch_step_and_validation_loss_where_known_trained_model_first(run):
    save(run, "cat", "cat-000001", "cat-step00000040", "cat-000009")
    assert saved(run) == [
        ("cat", 3, 60, 0.25, True), ("cat-step00000040", None, 40, 0.2, False), ("cat-000001", 1, 20, 0.3, False), ("cat-000009", 9, None, None, False),
    ]  # fmt: skip
    assert saved(run, NO_RECORD)[0] == ("cat", None, 60, None, True)
    assert saved(run, status=Status.STOPPED)[0] == ("cat", None, None, None, True)


def test_best_file_has_lowest_validation_loss_else_it_is_trained_model(run):
    save(run, "cat", "cat-000001", "cat-000002")
    assert best_lora(saved_loras(run, RECORD, status=Status.COMPLETED)).path.stem == "cat-000002"
    assert best_lora(saved_loras(run, NO_RECORD, status=Status.COMPLETED)).path.stem == "cat"
    broken = TrainingRecord(validation={20: 0.3, 40: math.nan}, epoch_ends=RECORD.epoch_ends, spans={})
    assert best_lora(saved_loras(run, broken, status=Status.COMPLETED)).path.stem == "cat-000001"
    assert best_lora([]) is None


def test_stopped_run_can_be_resumed_from_its_earlier_checkpoints(run):
    for step in (20, 40):
        save(run, f"cat-step{step:08d}")
        write_checkpoint(run, f"cat-step{step:08d}-state", step)
    found = {lora.step: lora.checkpoint for lora in saved_loras(run, RECORD, status=Status.STOPPED)}
    assert found == {20: "cat-step00000020-state", 40: None}  # the newest is what Resume takes
    assert {lora.checkpoint for lora in saved_loras(run, RECORD, status=Status.RUNNING)} == {None}


def test_link_is_not_listed_since_it_is_not_served(run, tmp_path):
    save(run, "cat")
    (run.folder / "cat-000001.safetensors").symlink_to(run.lora)
    assert [name for name, *_ in saved(run)] == ["cat"]
