"""Settings of a training that could execute code or write outside the run."""

import pytest

from fluxgym.runs.launch_spec import LaunchSpec
from fluxgym.trainers.named_code import named_code


def named(backend="builtin", resume_from=None, **options):
    """Return what a launch with these options names."""
    flags = {f"--{name}": (value,) for name, value in options.items()}
    return named_code(LaunchSpec(run_id="x", attempt=1, trainer_dir="/", backend=backend, options=flags, resume_from=resume_from))


@pytest.mark.parametrize(
    ("options", "phrase"),
    [
        ({"optimizer_type": "evil.mod.Adam"}, "runs the Python module “evil.mod” (optimizer_type)"),
        ({"lr_scheduler_type": "evil.Schedule"}, "runs the Python module “evil” (lr_scheduler_type)"),
        ({"network_module": "evil.lora"}, "runs the Python module “evil” (network_module)"),
        ({"console_log_file": "/home/me/.profile"}, "writes to “/home/me/.profile” (console_log_file)"),
    ],
)
def test_modules_and_files_elsewhere_are_reported(options, phrase):
    assert named(**options) == (phrase,)


@pytest.mark.parametrize("name", ["AdamW8bit", "torch.optim.AdamW", "bitsandbytes.optim.AdamW8bit", "prodigyopt.Prodigy"])
def test_optimizers_of_known_packages_are_not_named(name):
    assert named(optimizer_type=name, network_module="networks.lora_flux") == ()


def test_pickles_are_reported_for_trainer_that_executes_them():
    assert named("kohya", "/runs/cat/cat-000004-state") == ("loads the pickles of the checkpoint “cat-000004-state”",)
    assert named("kohya", network_weights="old.pt") == ("loads the pickle “old.pt” (network_weights)",)
    assert named("kohya", network_weights="old.safetensors") == ()
    assert named("builtin", "/runs/cat/cat-000004-state", network_weights="old.pt") == ()
