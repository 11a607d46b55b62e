"""The checkpoint that settings name to start from: found by each form of its name; checks and Start refuse it with the same message."""

import pytest

from fluxgym.errors import ConfigError
from fluxgym.planning.plan import plan
from fluxgym.sessions.start import StartRequest, start
from tests.support.photos import write_cats
from tests.support.runs import make_run, write_checkpoint
from tests.support.small_installation import small_installation, state


@pytest.mark.parametrize("name", ["nowhere-state", "cat-000004-state"])
def test_checkpoint_that_is_missing_or_incomplete_is_refused_before_start(name, tmp_path):
    world, images = small_installation(tmp_path), write_cats(tmp_path / "images")
    (world.outputs / "cat" / "cat-000004-state").mkdir(parents=True)
    changed = state(resume_from_checkpoint=name)
    (problem,) = plan(changed, images, world).errors
    assert problem.field == "resume_from_checkpoint"
    with pytest.raises(ConfigError) as refused:
        start(StartRequest(state=changed, images=images), world)
    assert str(refused.value) == problem.message


@pytest.mark.parametrize("named", ["dog-4-state", "dog-000004-state", "dog/dog-000004-state"])
def test_checkpoint_of_another_run_is_found_by_each_form_of_its_name(named, tmp_path):
    world, images = small_installation(tmp_path), write_cats(tmp_path / "images")
    folder = write_checkpoint(make_run(world.outputs, "dog"), "dog-000004-state", 4)
    planned = plan(state(resume_from_checkpoint=named), images, world).with_named_checkpoint()
    assert planned.resume_from == folder.resolve()


def test_checkpoint_that_is_damaged_is_refused_with_its_name(tmp_path):
    world, images = small_installation(tmp_path), write_cats(tmp_path / "images")
    folder = write_checkpoint(make_run(world.outputs, "dog"), "dog-000004-state", 4)
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ConfigError, match="“dog-4-state” is not a complete checkpoint"):
        plan(state(resume_from_checkpoint="dog-4-state"), images, world).with_named_checkpoint()
