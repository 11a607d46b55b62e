"""Resume: which attempt comes next, and on which devices."""

import pytest

from fluxgym.engines import devices
from fluxgym.runs.launch_spec import read_launch_spec
from fluxgym.sessions.control import wait_until_ended
from fluxgym.sessions.resume import resume
from fluxgym.sessions.start import StartRequest, start
from tests.support.photos import write_cats
from tests.support.runs import write_checkpoint
from tests.support.small_installation import small_installation, start_run, state, stop_and_wait


@pytest.fixture(name="world")
def fixture_world(tmp_path):
    return small_installation(tmp_path)


@pytest.fixture(name="images")
def fixture_images(tmp_path):
    return write_cats(tmp_path / "images")


@pytest.fixture(name="has_gpus")
def fixture_has_gpus(tmp_path, monkeypatch):
    """Return a function that gives the machine so many GPUs."""

    def has(count):
        for number in range(count):
            (tmp_path / f"{count}-gpus" / str(number)).mkdir(parents=True)
        monkeypatch.setattr(devices, "GPU_SIGNS", (tmp_path / f"{count}-gpus",))

    return has


def test_gpu_that_user_did_not_choose_is_chosen_again_at_each_start(world, images, has_gpus):
    has_gpus(2)
    run = start_run(world, images)
    spec = read_launch_spec(run)
    assert (spec.devices.names, spec.devices.any_free, spec.env) == (("gpu-0", "gpu-1"), True, {})
    wait_until_ended(run)
    write_checkpoint(run, "my-cat-step00000004-state", 4)
    has_gpus(1)
    resume(run, settings=world, epochs=2)
    spec = read_launch_spec(run)
    assert (spec.devices.names, spec.devices.any_free, spec.env) == (("gpu-0",), True, {})
    stop_and_wait(run)


def test_gpu_chosen_by_user_is_kept_while_it_exists(world, images, has_gpus):
    has_gpus(2)
    run = start(StartRequest(state=state(), images=images, gpus="1"), world)
    wait_until_ended(run)
    write_checkpoint(run, "my-cat-step00000004-state", 4)
    resume(run, settings=world, epochs=2)
    spec = read_launch_spec(run)
    assert (spec.devices.names, spec.devices.any_free, spec.env) == (("gpu-1",), False, {"CUDA_VISIBLE_DEVICES": "1"})
    wait_until_ended(run)
    has_gpus(1)
    resume(run, settings=world, epochs=3)
    assert (read_launch_spec(run).devices.names, read_launch_spec(run).env) == (("gpu-0",), {})
    stop_and_wait(run)
