"""The form says before Start that no sample image will be drawn, or none of a LoRA that is saved."""

import pytest

from fluxgym.config.defaults import DEFAULTS
from fluxgym.config.settings import TrainConfig
from fluxgym.errors import Level
from fluxgym.planning.plan import plan
from fluxgym.planning.sample_times import SampleInterval, report_sample_times
from fluxgym.planning.start_checks import Findings
from tests.support.photos import write_cats
from tests.support.small_installation import small_installation, state


def warnings(steps, *, advanced=None, defaults=DEFAULTS, **changes):
    """Return (field, message) of the warnings for a training of 16 epochs, saved every 4 epochs, with some changes."""
    findings = Findings()
    settings = {"lora_name": "cat", "max_train_epochs": 16, "save_every_n_epochs": 4, "advanced": advanced or {}} | changes
    report_sample_times(TrainConfig(**settings), steps, defaults, findings)
    assert {problem.level for problem in findings.problems} <= {Level.WARNING}
    return [(problem.field, problem.message) for problem in findings.problems]


def test_prompts_without_interval_generate_no_samples():
    ((field, message),) = warnings(320, sample_prompts="a cat")
    assert (field, message) == (
        "sample_every_n_steps", "No sample image is drawn from your prompts: “Sample image every N steps” is 0. Enter a number of steps.",
    )  # fmt: skip
    assert warnings(320) == []
    assert warnings(320, sample_prompts="a cat", advanced={"sample_at_first": True}) == []


@pytest.mark.parametrize("advanced", [{}, {"sample_at_first": True}])
def test_interval_longer_than_training_generates_no_samples(advanced):
    ((field, message),) = warnings(1200, sample_every_n_steps=1300, advanced=advanced)
    assert (field, message) == (
        "sample_every_n_steps", "No sample image is drawn during the training, which has 1,200 steps. Enter a number from 1 to 1,200.",
    )  # fmt: skip


def test_epoch_interval_longer_than_training_generates_no_samples():
    ((field, message),) = warnings(320, advanced={"sample_every_n_epochs": 20})
    assert field == "advanced"
    assert message.startswith(
        "No sample image is drawn during the training: the training has 16 epochs, fewer than sample_every_n_epochs = 20"
    )
    assert warnings(320, advanced={"sample_every_n_epochs": 16}) == []


@pytest.mark.parametrize(
    ("every", "changes", "saved", "fitting"),
    [
        (25, {}, "every 80", "20"),  # none of 80, 160, 240 and 320 is a multiple of 25
        (100, {}, "every 80", "80"),
        (100, {"save_every_n_epochs": 40}, None, None),  # one file: each sample before it is of a LoRA that is not saved
        (100, {"save_every_n_epochs": 16}, None, None),
        (130, {"save_every_n_epochs": 16, "advanced": {"save_every_n_steps": 80}}, "every 80", "80"),
        (80, {}, None, None),
        (160, {}, None, None),
        (40, {}, None, None),
        (64, {}, None, None),  # 320
        (60, {}, None, None),  # 240
        (320, {"save_every_n_epochs": 40}, None, None),
        (100, {"advanced": {"save_every_n_steps": 50}}, None, None),
    ],
)
def test_sample_interval_that_misses_saved_loras_is_reported_with_matching_interval(every, changes, saved, fitting):
    found = warnings(320, sample_every_n_steps=every, **changes)
    assert bool(found) is (saved is not None)
    if saved is not None:
        message = (
            f"Samples are drawn every {every} steps, LoRA files are saved {saved}; "
            f"set “Sample image every N steps” to {fitting} to see each saved file."
        )
        assert found == [("sample_every_n_steps", message)]


def test_model_defaults_give_no_warning():
    defaults = DEFAULTS | {"sample_every_n_steps": 80, "save_every_n_epochs": 8}
    assert warnings(208, defaults=defaults, sample_every_n_steps=80, save_every_n_epochs=8) == []
    assert len(warnings(208, defaults=defaults, sample_every_n_steps=70, save_every_n_epochs=8)) == 1
    assert len(warnings(208, defaults=defaults, sample_every_n_steps=80, save_every_n_epochs=7)) == 1


def test_unknown_number_of_steps_gives_no_warning():
    assert warnings(None, sample_every_n_steps=10**6) == []


def test_epoch_interval_has_precedence_and_invalid_values_are_ignored():
    assert SampleInterval.of({"sample_every_n_steps": 5, "advanced": {"sample_every_n_epochs": 2}}) == SampleInterval(steps=0, epochs=2)
    for advanced in (None, [], {"sample_every_n_epochs": "x"}):
        assert SampleInterval.of({"sample_every_n_steps": "5", "advanced": advanced}) == SampleInterval(steps=5, epochs=0)


def test_plan_with_warning_can_start(tmp_path):
    planned = plan(state(sample_every_n_steps=9), write_cats(tmp_path / "images"), small_installation(tmp_path))
    assert planned.can_start
    assert ("sample_every_n_steps", Level.WARNING) in {(problem.field, problem.level) for problem in planned.problems}
