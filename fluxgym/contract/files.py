"""Names of the files that app and trainer exchange: run folder, LoRA, checkpoints, sample images, feature cache.

A trainer's file is `{output_name}{suffix}` plus an ending, as kohya names it: no suffix for the last save, `-000004` for epoch 4,
`-step00000120` for step 120.
"""

import re

# Run folder
UI_STATE = "ui_state.json"
PROGRESS = "progress.jsonl"
TRAINING_LOG = "training.log"
MONITOR_LOG = "monitor.log"
TRAINING_PID = "training.pid"
MONITOR_PID = "monitor.pid"
DATASET_TOML = "dataset.toml"
SAMPLE_PROMPTS = "sample_prompts.txt"
TRAIN_SH = "train.sh"
README = "README.md"
DATASET_FOLDER = "dataset"
SAMPLE_FOLDER = "sample"
LOGS_FOLDER = "logs"
HISTORY_FOLDER = "history"
PRIVATE_FOLDER = ".run"

# Environment of the trainer
RUN_ID_VARIABLE = "FLUXGYM_RUN_ID"
ATTEMPT_VARIABLE = "FLUXGYM_ATTEMPT"

# LoRA and checkpoint
LORA_ENDING = ".safetensors"
STATE_ENDING = "-state"
STATE_FOLDER = re.compile(r"-(?P<epoch>\d{6})-state$|-step(?P<step>\d{8})-state$|-state$")
PARTIAL_ENDING = ".partial"

# Inside a checkpoint of FluxGym's trainer
MANIFEST = "manifest.json"
NETWORK = "model.safetensors"
OPTIMIZER = "optimizer.safetensors"
OPTIMIZER_JSON = "optimizer.json"
SCHEDULER = "scheduler.json"
TRAIN_STATE = "train_state.json"  # kohya's states have a file of this name, too

CHECKPOINT_FILES = (NETWORK, OPTIMIZER_JSON, SCHEDULER, TRAIN_STATE)  # those that every checkpoint has

# Inside a state of kohya's trainer
KOHYA_NETWORKS = (NETWORK, "pytorch_model.bin")
KOHYA_OPTIMIZER = "optimizer.bin"
KOHYA_SCHEDULER = "scheduler.bin"
KOHYA_RANDOM_STATES = "random_states_0.pkl"
KOHYA_POSITION = "fluxgym_place.json"  # written by FluxGym's supervisor

# Beside the training images
CACHE_FOLDER = ".fluxgym-cache"


def epoch_suffix(epoch: int) -> str:
    """Return the suffix of the files saved at the end of an epoch."""
    return f"-{epoch:06d}"


def step_suffix(step: int) -> str:
    """Return the suffix of the files saved at a step."""
    return f"-step{step:08d}"


def lora_name(output_name: str, suffix: str = "") -> str:
    """Return the name of a LoRA file."""
    return f"{output_name}{suffix}{LORA_ENDING}"


def state_name(output_name: str, suffix: str = "") -> str:
    """Return the name of a checkpoint's folder."""
    return f"{output_name}{suffix}{STATE_ENDING}"


def sample_name(output_name: str, position: str, index: int, *, stamp: str, seed: int | None) -> str:
    """Return the name of a sample image; position is a step "000120" or an epoch "e000004", stamp is YYYYmmddHHMMSS."""
    return f"{output_name}_{position}_{index:02d}_{stamp}{'' if seed is None else f'_{seed}'}.png"
