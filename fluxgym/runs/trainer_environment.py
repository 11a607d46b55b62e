"""Environment variables of a trainer: those that a launch spec carries from the app that starts a run, and the secrets that stay out of files."""

from collections.abc import Mapping

WANDB_KEY = "WANDB_API_KEY"
SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_TOKEN", "FLUXGYM_TOKEN", WANDB_KEY)
CARRIED = ("CUDA_VISIBLE_DEVICES", "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")  # what a launch.json may set; nothing that names code


def carried(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that launch.json carries to the trainer."""
    return {name: environment[name] for name in CARRIED if name in environment}


def without_other_runs(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment for the supervisor of another run than the one for which it was set: that run's own variables are in its launch.json.

    Of the secrets only wandb's key stays, which the supervisor passes to a run that logs to wandb.
    """
    return {name: value for name, value in environment.items() if name not in CARRIED and (name not in SECRETS or name == WANDB_KEY)}
