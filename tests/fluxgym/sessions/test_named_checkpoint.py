"""The checkpoint that settings name to start from."""

import pytest

from fluxgym.errors import ConfigError
from fluxgym.planning.plan import plan
from fluxgym.sessions.named_checkpoint import with_named_checkpoint
from tests.support.runs import make_run, write_checkpoint
from tests.support.small_world import state


@pytest.mark.parametrize("named", ["dog-4-state", "dog-000004-state", "dog/dog-000004-state"])
def test_checkpoint_of_another_run_is_found_by_each_form_of_its_name(world, images, named):
    folder = write_checkpoint(make_run(world.outputs, "dog"), "dog-000004-state", 4)
    planned = with_named_checkpoint(plan(state(resume_from_checkpoint=named), images, world), world.outputs)
    assert planned.resume_from == folder.resolve()


def test_checkpoint_that_is_not_complete_is_refused_by_name(world, images):
    folder = write_checkpoint(make_run(world.outputs, "dog"), "dog-000004-state", 4)
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ConfigError, match="“dog-4-state” is not a complete checkpoint"):
        with_named_checkpoint(plan(state(resume_from_checkpoint="dog-4-state"), images, world), world.outputs)
