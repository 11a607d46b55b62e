"""The trainer's command line, FluxGym's flags exactly, as a list; and the same as a script to read and re-run by hand."""

import shlex
from pathlib import Path
from typing import Any

from fluxgym.config.train_config import TrainConfig
from fluxgym.config.trainer_flags import DATASET_KEYS, OF_THE_LAUNCHER, SUBSET_KEYS, all_flags
from fluxgym.config.vram_tiers import TIERS, WITHOUT
from fluxgym.errors import LaunchError
from fluxgym.models.catalog import FoundFiles
from fluxgym.runs.launch_spec import LaunchSpec, TrainerOptions
from fluxgym.runs.paths import RunPaths
from fluxgym.trainers.base import backend_for, with_command

Options = dict[str, list[str] | None]


def trainer_argv(config: TrainConfig, run: RunPaths, files: FoundFiles, *, sd_scripts: Path, resume: Path | None = None) -> list[str]:
    """Return the command that trains a run; `resume` is a checkpoint's folder.

    Raises LaunchError when the trainer is not there, or is a checkout of kohya's that does not know one of the options.
    """
    backend, options = backend_for(sd_scripts), trainer_options(config, run, files, resume=resume)
    resume_from = None if resume is None else str(resume)
    spec = LaunchSpec(run_id="", attempt=1, trainer_dir=str(sd_scripts), backend=backend.name, options=options, resume_from=resume_from)
    for problem in backend.check(options, sd_scripts):
        raise LaunchError(problem.message, field=problem.field)
    return list(with_command(spec, run).argv)


def trainer_options(config: TrainConfig, run: RunPaths, files: FoundFiles, *, resume: Path | None = None) -> TrainerOptions:
    """Return the trainer's options; each attempt's backend replaces --resume by its own checkpoint."""
    options = _options(config, run, files) | ({} if resume is None else {"--resume": [str(resume)]})
    for name, value in config.advanced.items():
        if name not in DATASET_KEYS and name not in SUBSET_KEYS and name not in OF_THE_LAUNCHER:
            _set(options, name, value)
    return {flag: None if values is None else tuple(values) for flag, values in options.items()}


def _options(config: TrainConfig, run: RunPaths, files: FoundFiles) -> Options:
    """FluxGym's flags by name, so that an advanced setting replaces one instead of standing there twice."""
    options: Options = {
        "--pretrained_model_name_or_path": [str(files.transformer)],
        "--clip_l": [str(files.clip_l)],
        "--t5xxl": [str(files.t5xxl)],
        "--ae": [str(files.ae)],
        "--cache_latents_to_disk": None,
        "--save_model_as": ["safetensors"],
        "--sdpa": None,
        "--persistent_data_loader_workers": None,
        "--max_data_loader_n_workers": [str(config.workers)],
        "--seed": [str(config.seed)],
        "--gradient_checkpointing": None,
        "--mixed_precision": ["bf16"],
        "--save_precision": ["bf16"],
        "--network_module": ["networks.lora_flux"],
        "--network_dim": [str(config.network_dim)],
        "--learning_rate": [config.learning_rate],
        "--cache_text_encoder_outputs": None,
        "--cache_text_encoder_outputs_to_disk": None,
        "--fp8_base": None,
        "--highvram": None,
        "--max_train_epochs": [str(config.max_train_epochs)],
        "--save_every_n_epochs": [str(config.save_every_n_epochs)],
        "--dataset_config": [str(run.dataset_toml)],
        "--output_dir": [str(run.folder)],
        "--output_name": [run.slug],
        "--timestep_sampling": [config.timestep_sampling],
        "--discrete_flow_shift": ["3.1582"],
        "--model_prediction_type": ["raw"],
        "--guidance_scale": [str(config.guidance_scale)],
        "--loss_type": ["l2"],
    }
    if config.enable_checkpointing:
        options["--save_state"] = None
    if config.sample_every_n_steps:
        options["--sample_every_n_steps"] = [str(config.sample_every_n_steps)]
    if config.sample_every_n_steps or any(config.advanced.get(name) for name in ("sample_every_n_epochs", "sample_at_first")):
        options["--sample_prompts"] = [str(run.sample_prompts)]
    kept = {flag: values for flag, values in options.items() if flag not in WITHOUT.get(config.vram, ())}
    return kept | _tier(config.vram)


def _tier(vram: str) -> Options:
    options: Options = {}
    flag = ""
    for word in TIERS[vram]:
        if word.startswith("--"):
            flag = word
            options[flag] = None
        else:
            options[flag] = [*(options[flag] or []), word]
    return options


def _set(options: Options, name: str, value: Any) -> None:
    """Put an advanced setting in its flag's place; False takes a switch away."""
    flag = f"--{name}"
    if all_flags()[name].type == "flag":
        options.pop(flag, None)
        if value:
            options[flag] = None
    else:
        options[flag] = [str(item) for item in value] if isinstance(value, list) else [str(value)]


def train_sh(argv: list[str]) -> str:
    """Return the command as a shell script, one flag a line."""
    lines: list[str] = []
    for word in argv:
        quoted = shlex.quote(word)
        if word.startswith("--") or not lines:
            lines.append(quoted)
        else:
            lines[-1] += f" {quoted}"
    return "#!/bin/sh\n# This run's training; it can be run by hand too.\nexec " + " \\\n  ".join(lines) + "\n"
