"""The trainer as a process with FluxGym's flags, for tests."""

import json
import os
import subprocess
import sys
from pathlib import Path

import tomli_w
import torch
from safetensors.torch import load_file

from tests.support.tiny_models import model_flags

SCRIPT = Path(__file__).parents[2] / "sd-scripts" / "flux_train_network.py"
TIER_FLAGS = {
    "20G": ["--optimizer_type", "adamw8bit"],
    "16G": [
        "--optimizer_type", "adafactor", "--optimizer_args", "relative_step=False", "scale_parameter=False", "warmup_init=False",
        "--lr_scheduler", "constant_with_warmup", "--max_grad_norm", "0.0",
    ],
    "12G": [
        "--optimizer_type", "adafactor", "--optimizer_args", "relative_step=False", "scale_parameter=False", "warmup_init=False",
        "--lr_scheduler", "constant_with_warmup", "--max_grad_norm", "0.0", "--split_mode", "--network_args", "train_blocks=single",
    ],
}  # fmt: skip


def write_dataset_toml(path: Path, images: Path, *, repeats: int = 2, batch_size: int = 1, **general: object) -> Path:
    """Write a dataset.toml of one folder at 64 px; more keys of [general] by name."""
    toml = {
        "general": {"shuffle_caption": False, "caption_extension": ".txt", **general},
        "datasets": [
            {"resolution": 64, "batch_size": batch_size, "subsets": [{"image_dir": str(images), "num_repeats": repeats}]},
        ],
    }
    path.write_text(tomli_w.dumps(toml))
    return path


def trainer_flags(models: Path, dataset: Path, out: Path, *extra: str, tier: str = "20G", epochs: int = 2) -> list[str]:
    """Return the command line of a short training as FluxGym starts it for a VRAM tier; `extra` comes last and so wins."""
    return [
        *model_flags(models), "--cache_latents_to_disk", "--save_model_as", "safetensors", "--sdpa", "--persistent_data_loader_workers",
        "--max_data_loader_n_workers", "2", "--seed", "42", "--gradient_checkpointing", "--mixed_precision", "bf16", "--save_precision", "bf16",
        "--network_module", "networks.lora_flux", "--network_dim", "4", "--learning_rate", "8e-4", "--cache_text_encoder_outputs",
        "--cache_text_encoder_outputs_to_disk", "--fp8_base", "--highvram", "--max_train_epochs", str(epochs), "--save_every_n_epochs", "1",
        "--dataset_config", str(dataset), "--output_dir", str(out), "--output_name", "cat", "--timestep_sampling", "shift",
        "--discrete_flow_shift", "3.1582", "--model_prediction_type", "raw", "--guidance_scale", "1.0", "--loss_type", "l2",
        *TIER_FLAGS[tier], *extra,
    ]  # fmt: skip


def trainer_environment() -> dict[str, str]:
    """Return the environment of a trainer in a test: one thread, unbuffered output."""
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def run_trainer(*argv: str) -> subprocess.CompletedProcess[str]:
    """Run a training to its end."""
    return subprocess.run([sys.executable, str(SCRIPT), *argv], env=trainer_environment(), capture_output=True, text=True, check=False)


def progress_lines(out: Path) -> list[dict]:
    """Return the records of progress.jsonl."""
    return [json.loads(line) for line in (out / "progress.jsonl").read_text().splitlines()]


def same_tensors(first: Path, second: Path) -> bool:
    """Return True if two files hold the same tensors, bit for bit."""
    a, b = load_file(first), load_file(second)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
