"""A checkpoint that Start refuses is refused by the checks, with the same sentence."""

import pytest

from fluxgym.errors import ConfigError
from fluxgym.planning.plan import plan
from fluxgym.sessions.start import StartRequest, start
from tests.support.photos import write_cats
from tests.support.small_world import small_world, state


@pytest.mark.parametrize("name", ["nowhere-state", "cat-000004-state"])
def test_a_checkpoint_that_is_missing_or_incomplete_is_refused_before_start(name, tmp_path):
    world, images = small_world(tmp_path), write_cats(tmp_path / "images")
    (world.outputs / "cat" / "cat-000004-state").mkdir(parents=True)
    changed = state(resume_from_checkpoint=name)
    (problem,) = plan(changed, images, world).errors
    assert problem.field == "resume_from_checkpoint"
    with pytest.raises(ConfigError) as refused:
        start(StartRequest(state=changed, images=images), world)
    assert str(refused.value) == problem.message
