"""Names of the files that app and trainer exchange: run folder, LoRA, checkpoints, sample images, feature cache.

Each kind of name that has parts is formatted and parsed here.

A trainer's file is `{output_name}{suffix}` plus an ending, as kohya names it: no suffix for the last save, `-000004` for epoch 4,
`-step00000120` for step 120.
"""

import re
from dataclasses import dataclass
from datetime import datetime

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

# In the archive of replaced runs
ARCHIVED_TIME = "%Y%m%d-%H%M%S"

_ARCHIVED = re.compile(r"(?P<slug>.+)-(?P<time>\d{8}-\d{6})-[0-9a-f]{4}")
_SAMPLE = re.compile(r"(?P<name>.*?)_(?P<label>e\d{6}|\d{6,})_(?P<index>\d{2,})_(?P<stamp>\d{14})(?:_(?P<seed>\d+))?\.png", re.DOTALL)


def epoch_suffix(epoch: int) -> str:
    """Return the suffix of the files saved at the end of an epoch."""
    return f"-{epoch:06d}"


def step_suffix(step: int) -> str:
    """Return the suffix of the files saved at a step."""
    return f"-step{step:08d}"


@dataclass(frozen=True, kw_only=True)
class SavedName:
    """The parts of the name of a LoRA file or checkpoint: the epoch or the step of the save, neither for the last one."""

    output_name: str
    epoch: int | None = None
    step: int | None = None

    @property
    def suffix(self) -> str:
        """The part between output name and ending."""
        if self.epoch is not None:
            return epoch_suffix(self.epoch)
        return "" if self.step is None else step_suffix(self.step)


def lora_name(output_name: str, suffix: str = "") -> str:
    """Return the name of a LoRA file."""
    return f"{output_name}{suffix}{LORA_ENDING}"


def parse_lora_name(name: str, output_name: str | None = None) -> SavedName | None:
    """Return the parts of a LoRA file's name, None if it is not one; with output_name, also None for another output name."""
    return _parse_saved(name, LORA_ENDING, output_name)


def with_output_name(name: str, old: str, new: str) -> str:
    """Return a LoRA file's name with another output name, unchanged if it does not begin with the old one."""
    return new + name[len(old) :] if name.startswith(old) else name


def state_name(output_name: str, suffix: str = "") -> str:
    """Return the name of a checkpoint's folder."""
    return f"{output_name}{suffix}{STATE_ENDING}"


def parse_state_name(name: str, output_name: str | None = None) -> SavedName | None:
    """Return the parts of a checkpoint's name, None if it is not one; with output_name, also None for another output name.

    Pass output_name if it is known: "cat-000003-state" is the last checkpoint of "cat-000003", but epoch 3 of "cat".
    """
    return _parse_saved(name, STATE_ENDING, output_name)


def parse_short_state_name(name: str) -> SavedName | None:
    """Return the parts of a checkpoint's name as a user shortens it: "cat-4-state" is epoch 4 of "cat"; None if it is not one."""
    match = re.fullmatch(rf"(?P<output_name>.+)-(?P<epoch>\d{{1,5}}){STATE_ENDING}", name)
    return None if match is None else SavedName(output_name=match["output_name"], epoch=int(match["epoch"]))


def _parse_saved(name: str, ending: str, output_name: str | None) -> SavedName | None:
    owner = ".*?" if output_name is None else re.escape(output_name)
    match = re.fullmatch(rf"(?P<name>{owner})(?:-(?P<epoch>\d{{6}})|-step(?P<step>\d{{8}}))?{re.escape(ending)}", name, re.DOTALL)
    if match is None:
        return None
    return SavedName(output_name=match["name"], epoch=_integer(match["epoch"]), step=_integer(match["step"]))


def step_label(step: int) -> str:
    """Return the part of a sample image's name that says at which step it was drawn."""
    return f"{step:06d}"


def epoch_label(epoch: int) -> str:
    """Return the part of a sample image's name that says after which epoch it was drawn."""
    return f"e{epoch:06d}"


@dataclass(frozen=True, kw_only=True)
class SampleName:
    """The parts of a sample image's name: where it was drawn (step_label or epoch_label), and the number of its prompt from 0.

    stamp is YYYYmmddHHMMSS; the seed is None if the prompt has none.
    """

    output_name: str
    label: str
    index: int
    stamp: str
    seed: int | None = None

    @property
    def epoch(self) -> int | None:
        """The epoch after which it was drawn, None if it was drawn at a step."""
        return int(self.label[1:]) if self.label.startswith("e") else None

    @property
    def step(self) -> int | None:
        """The step at which it was drawn, None if it was drawn after an epoch."""
        return None if self.label.startswith("e") else int(self.label)


def sample_name(output_name: str, label: str, index: int, *, stamp: str, seed: int | None) -> str:
    """Return the name of a sample image; its parts are described by SampleName."""
    return f"{output_name}_{label}_{index:02d}_{stamp}{'' if seed is None else f'_{seed}'}.png"


def parse_sample_name(name: str) -> SampleName | None:
    """Return the parts of a sample image's name, None if it is not one."""
    match = _SAMPLE.fullmatch(name)
    if match is None:
        return None
    return SampleName(
        output_name=match["name"], label=match["label"], index=int(match["index"]), stamp=match["stamp"], seed=_integer(match["seed"])
    )


def archived_name(slug: str, archived_at: datetime, token: str) -> str:
    """Return the name that a replaced run's folder gets in the archive; token is 4 hexadecimal digits that make it unique."""
    return f"{slug}-{archived_at.strftime(ARCHIVED_TIME)}-{token}"


def parse_archived_name(name: str) -> tuple[str, datetime | None] | None:
    """Return a replaced run's slug and when it was archived, None for an impossible time; None if the name is not one of the archive's."""
    match = _ARCHIVED.fullmatch(name)
    if match is None:
        return None
    try:
        return match["slug"], datetime.strptime(match["time"], ARCHIVED_TIME)
    except ValueError:
        return match["slug"], None


def _integer(digits: str | None) -> int | None:
    return None if digits is None else int(digits)
