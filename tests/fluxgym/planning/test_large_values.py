"""The plan warns, once and beside the field, about a resolution, epochs and repeats that are far above what a LoRA needs."""

import pytest

from fluxgym.planning.plan import Planner
from tests.support.photos import write_cats
from tests.support.small_installation import small_installation, state


@pytest.fixture(name="warnings")
def fixture_warnings(tmp_path):
    world, images = small_installation(tmp_path), write_cats(tmp_path / "images", count=8)
    (tmp_path / "empty").mkdir()

    def warnings(*, has_images=True, **changes):
        planned = Planner(world).plan_unchecked(state(**changes), images if has_images else tmp_path / "empty")
        return [(each.field, each.message) for each in planned.problems if each.level == "warning" and each.field != "vram"]

    return warnings


def test_resolution_beyond_the_model_is_one_warning_with_its_cost(warnings):
    assert [each for each in warnings(resolution=4096) if each[0] in ("resolution", "images")] == [
        (
            "resolution",
            "Resize dataset images 4,096 is more than FLUX.1 is made for: about 1,448 pixels per side, 2 megapixels. "
            "Each image takes 64 times the computation of 512, or more.",
        )
    ]


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"max_train_epochs": 100_000, "num_repeats": 1}, "max_train_epochs", "Max train epochs 100,000 gives 800,000 steps"),
        ({"max_train_epochs": 100_000, "num_repeats": 1}, "max_train_epochs", "At one step per second, that takes 9 days."),
        ({"max_train_epochs": 1, "num_repeats": 10_000}, "num_repeats", "Repeat trains per image 10,000 gives 80,000 steps"),
        ({"max_train_epochs": 1, "num_repeats": 10_000}, "num_repeats", "that takes 22 h 13 min."),
        ({"max_train_epochs": 1, "num_repeats": 2000}, "num_repeats", "use fewer repeats and more epochs"),
    ],
)
def test_very_long_training_is_one_warning_with_its_time(warnings, changes, field, words):
    ((where, message),) = [each for each in warnings(**changes) if each[0] in ("num_repeats", "max_train_epochs")]
    assert where == field
    assert words in message


def test_very_long_training_is_known_before_there_are_images(warnings):
    found = dict(warnings(has_images=False, max_train_epochs=100_000, num_repeats=10))
    assert "gives at least 1,000,000 steps" in found["max_train_epochs"]


def test_usual_values_have_no_warning(warnings):
    assert not dict(warnings(resolution=1024, max_train_epochs=16, num_repeats=10)).keys() & {
        "resolution",
        "max_train_epochs",
        "num_repeats",
    }
