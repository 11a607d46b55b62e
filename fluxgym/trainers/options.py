"""The trainer's options for a training as a table, in the order of FluxGym's own train.sh; and train.sh itself."""

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fluxgym.config.setting_spec import Emit, Setting, SettingType
from fluxgym.config.settings import NOT_ON_COMMAND_LINE, OWN_KEYS, TrainConfig
from fluxgym.config.trainer_flags import all_flags
from fluxgym.config.vram_tiers import TIERS
from fluxgym.contract.files import LOGS_FOLDER
from fluxgym.models.catalog import FoundFiles
from fluxgym.runs.launch_spec import TrainerOptions
from fluxgym.runs.paths import RunPaths

Options = dict[str, tuple[str, ...] | None]
FIXED: Options = {
    "--cache_latents_to_disk": None,
    "--save_model_as": ("safetensors",),
    "--sdpa": None,
    "--persistent_data_loader_workers": None,
    "--gradient_checkpointing": None,
    "--mixed_precision": ("bf16",),
    "--save_precision": ("bf16",),
    "--network_module": ("networks.lora_flux",),
    "--cache_text_encoder_outputs": None,
    "--cache_text_encoder_outputs_to_disk": None,
    "--fp8_base": None,
    "--highvram": None,
    "--discrete_flow_shift": ("3.1582",),
    "--model_prediction_type": ("raw",),
    "--loss_type": ("l2",),
}
ORDER = (  # options that are not listed follow in the order of the settings table
    "--pretrained_model_name_or_path", "--clip_l", "--t5xxl", "--ae", "--cache_latents_to_disk", "--save_model_as", "--sdpa",
    "--persistent_data_loader_workers", "--max_data_loader_n_workers", "--seed", "--gradient_checkpointing", "--mixed_precision",
    "--save_precision", "--network_module", "--network_dim", "--learning_rate", "--cache_text_encoder_outputs",
    "--cache_text_encoder_outputs_to_disk", "--fp8_base", "--highvram", "--max_train_epochs", "--save_every_n_epochs", "--dataset_config",
    "--output_dir", "--output_name", "--timestep_sampling", "--discrete_flow_shift", "--model_prediction_type", "--guidance_scale",
    "--loss_type", "--save_state", "--sample_every_n_steps", "--sample_prompts",
)  # fmt: skip
SAMPLING_SETTINGS = ("sample_every_n_epochs", "sample_at_first")  # advanced settings that need the sample prompts too


def trainer_options(config: TrainConfig, run: RunPaths, files: FoundFiles, *, resume: Path | None = None) -> TrainerOptions:
    """Return the trainer's options; the backend of each attempt replaces --resume by its own checkpoint.

    An advanced setting replaces an option of FluxGym or of the VRAM tier; a switch that is set to false removes it.
    """
    default_options = _model_options(files) | FIXED | setting_options(config) | _run_options(config, run)
    tier = TIERS[config.vram]
    options: Options = {
        flag: default_options[flag] for flag in (*ORDER, *default_options) if flag in default_options and flag not in tier.without
    }
    options |= tier.options if resume is None else {**tier.options, "--resume": (str(resume),)}
    for name, value in config.advanced.items():
        if name not in NOT_ON_COMMAND_LINE:
            _set_advanced(options, name, value)
    if "--log_with" in options:
        options.setdefault("--logging_dir", (str(run.folder / LOGS_FOLDER),))
    return options


def setting_options(config: Any, settings: Iterable[Setting] = OWN_KEYS) -> Options:
    """Return the options that settings become; a setting that is emitted IF_TRUE is left out while it is off or 0."""
    options: Options = {}
    for setting in settings:
        value = getattr(config, setting.name)
        if setting.emit is Emit.ALWAYS or (setting.emit is Emit.IF_TRUE and value):
            options[setting.flag] = None if setting.type is SettingType.SWITCH else (str(value),)
    return options


def _model_options(files: FoundFiles) -> Options:
    return {
        "--pretrained_model_name_or_path": (str(files.transformer),),
        "--clip_l": (str(files.clip_l),),
        "--t5xxl": (str(files.t5xxl),),
        "--ae": (str(files.ae),),
    }


def _run_options(config: TrainConfig, run: RunPaths) -> Options:
    options: Options = {
        "--dataset_config": (str(run.dataset_toml),),
        "--output_dir": (str(run.folder),),
        "--output_name": (run.slug,),
    }
    if draws_samples(config):
        options["--sample_prompts"] = (str(run.sample_prompts),)
    return options


def draws_samples(config: TrainConfig) -> bool:
    """Return True if sample images are drawn, so that the trainer reads the sample prompts."""
    return bool(config.sample_every_n_steps or any(config.flag(name) for name in SAMPLING_SETTINGS))


def _set_advanced(options: Options, name: str, value: Any) -> None:
    flag = f"--{name}"
    if all_flags()[name].type != "flag":
        options[flag] = tuple(str(item) for item in value) if isinstance(value, list) else (str(value),)
        return
    options.pop(flag, None)
    if value:
        options[flag] = None


def train_sh(argv: Sequence[str]) -> str:
    """Return the command as a shell script with one flag per line."""
    lines: list[str] = []
    for word in argv:
        quoted = shlex.quote(word)
        if word.startswith("--") or not lines:
            lines.append(quoted)
        else:
            lines[-1] += f" {quoted}"
    return "#!/bin/sh\n# This run's training; it can be run by hand too.\nexec " + " \\\n  ".join(lines) + "\n"
