"""The settings table: every setting of a training, in the order of the form.

Form fields, labels, help, limits, error messages, the trainer's options, dataset.toml, adoption of other tools' files, template keys and
docs/settings.md all derive from SETTINGS. A new setting is one row in SETTINGS and one field in TrainConfig.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Self

from fluxgym.config.setting_spec import Choice, Emit, Group, Section, Setting, SettingType
from fluxgym.config.trainer_flags import DATASET_FLAGS, SUBSET_FLAGS, all_flags, check_flag
from fluxgym.config.vram_tiers import TIERS
from fluxgym.contract.limits import MAX_EPOCHS, MAX_RANK, MAX_REPEATS, MAX_STEPS
from fluxgym.errors import ConfigError

OTHER_FLAGS = "other_flags"  # the form's field for all of `advanced` that has no row in the table
SCHEDULERS = ("constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial")
# In the order of the form; a test holds them equal to the choices in flags.json.
TIMESTEP_SAMPLINGS = ("shift", "sigmoid", "flux_shift", "uniform", "sigma")

ROWS = (
    Setting(
        name="lora_name", type=SettingType.TEXT, label="LoRA name", group=Group.LORA, placeholder="my-cat-lora", default="",
        help="Names the file and the folder.", flag="--output_name", in_template=False, stripped=True,
    ),
    Setting(
        name="concept_sentence", type=SettingType.TEXT, label="Trigger word/sentence", group=Group.LORA, placeholder="sks cat", default="",
        help="A rare word for what you teach. You write it in prompts later.",
        emit=Emit.SUBSET, dataset_key="class_tokens",
    ),
    Setting(
        name="base_model", type=SettingType.CHOICE, label="Base model", group=Group.LORA, default="flux-dev",
        help="The FLUX model that the LoRA is trained for.",
    ),
    Setting(
        name="vram", type=SettingType.CHOICE, label="GPU memory (VRAM)", group=Group.LORA, default="20G",
        choices=tuple(Choice(tier.name, tier.title) for tier in TIERS.values()),
        help="Your card’s memory. It sets how the model is kept on the GPU.",
    ),
    Setting(
        name="num_repeats", type=SettingType.INTEGER, label="Repeat trains per image", group=Group.LORA, default=10, minimum=1, maximum=MAX_REPEATS,
        help="Uses of each image per epoch.", beside="max_train_epochs",
        flag="num_repeats", emit=Emit.SUBSET, dataset_key="num_repeats", replaces=("--dataset_repeats",),
    ),
    Setting(
        name="max_train_epochs", type=SettingType.INTEGER, label="Max train epochs", group=Group.LORA, default=16, minimum=1, maximum=MAX_EPOCHS,
        help="Passes through all images.",
        flag="--max_train_epochs", emit=Emit.ALWAYS, replaces=("--max_train_steps",), metadata_key="ss_num_epochs",
    ),
    Setting(
        name="sample_prompts", type=SettingType.LINES, label="Sample image prompts (one per line)", group=Group.LORA, default="",
        placeholder="The trigger word is used until you write a prompt", flag="--sample_prompts",
        help="Options: --w width, --h height, --d seed, --s steps, --g guidance, --l CFG, --n negative prompt.",
    ),
    Setting(
        name="sample_every_n_steps", type=SettingType.INTEGER, label="Sample image every N steps", group=Group.LORA, default=0, minimum=0,
        maximum=MAX_STEPS, help="0 turns it off.", beside="resolution", flag="--sample_every_n_steps", emit=Emit.IF_TRUE,
    ),
    Setting(
        name="resolution", type=SettingType.INTEGER, label="Resize dataset images", group=Group.LORA, default=512, minimum=32, maximum=4096,
        help="About this many pixels per side.", flag="resolution", emit=Emit.DATASET, dataset_key="resolution",
    ),
    Setting(
        name="enable_checkpointing", type=SettingType.SWITCH, label="Enable checkpointing", default=True, flag="--save_state", emit=Emit.IF_TRUE,
        section=Section.SAVING, help="Saves the training state with each LoRA file, to resume from there. Stop always saves a state.",
    ),
    Setting(
        name="enable_monitoring", type=SettingType.SWITCH, label="Enable monitoring", section=Section.LOGGING, default=True,
        help="Writes monitor.pid, so that lists show Monitoring ✅. Each run is watched either way.",
    ),
    Setting(
        name="resume_from_checkpoint", type=SettingType.TEXT, label="Resume from checkpoint", section=Section.SAVING, default="",
        placeholder="my-cat-lora-4-state",
        help="The checkpoint folder to start from. Empty: start from the beginning.", flag="--resume", in_template=False,
    ),
    Setting(
        name="seed", type=SettingType.INTEGER, label="Seed", default=42, minimum=0, maximum=2**53 - 1, help="The same seed gives the same training.",
        section=Section.OPTIMIZER, flag="--seed", emit=Emit.ALWAYS, metadata_key="ss_seed",
    ),
    Setting(
        name="workers", type=SettingType.INTEGER, label="Workers", section=Section.DATASET, default=2, minimum=0, maximum=64,
        help="How many images or batches are loaded in parallel during training.", flag="--max_data_loader_n_workers", emit=Emit.ALWAYS,
    ),
    Setting(
        name="learning_rate", type=SettingType.RATE, label="Learning rate", section=Section.OPTIMIZER, default="8e-4", placeholder="8e-4", stripped=True,
        help="How much each step changes the LoRA’s weights.",
        flag="--learning_rate", emit=Emit.ALWAYS, metadata_key="ss_learning_rate",
    ),
    Setting(
        name="save_every_n_epochs", type=SettingType.INTEGER, label="Save every N epochs", section=Section.SAVING, default=4, minimum=1, maximum=MAX_EPOCHS,
        help="How often a LoRA file is saved during training.", flag="--save_every_n_epochs", emit=Emit.ALWAYS,
    ),
    Setting(
        name="timestep_sampling", type=SettingType.CHOICE, label="Timestep sampling", section=Section.LOSS, default="shift",
        choices=tuple(Choice(name) for name in TIMESTEP_SAMPLINGS), help="Which noise levels are trained most.",
        flag="--timestep_sampling", emit=Emit.ALWAYS,
    ),
    Setting(
        name="guidance_scale", type=SettingType.NUMBER, label="Guidance scale", section=Section.LOSS, default=1.0, minimum=0, maximum=100,
        help="The guidance value that the model gets during training. FLUX.1-dev is usually trained with 1.0.", flag="--guidance_scale", emit=Emit.ALWAYS,
    ),
    Setting(
        name="network_dim", type=SettingType.INTEGER, label="LoRA rank", section=Section.NETWORK, default=4, minimum=1, maximum=MAX_RANK,
        help="How much the LoRA can learn. A higher rank makes a larger file.", flag="--network_dim", emit=Emit.ALWAYS, metadata_key="ss_network_dim",
    ),
    Setting(
        name="network_alpha", type=SettingType.NUMBER, label="LoRA alpha", section=Section.NETWORK, in_advanced=True, flag="--network_alpha", emit=Emit.ALWAYS,
        help="Scales the LoRA by alpha / rank. Empty: kohya’s default of 1.",
    ),
    Setting(
        name="train_batch_size", type=SettingType.INTEGER, label="Batch size", section=Section.OPTIMIZER, in_advanced=True,
        help="Images per step. If the field is emptied: 1.", flag="--train_batch_size", emit=Emit.DATASET, dataset_key="batch_size",
    ),
    Setting(
        name="save_every_n_steps", type=SettingType.INTEGER, label="Save every N steps", section=Section.SAVING, in_advanced=True, flag="--save_every_n_steps",
        help="Saves a LoRA file every N steps, and a checkpoint if checkpointing is enabled. Empty: saves by epochs only.", emit=Emit.ALWAYS,
    ),
    Setting(
        name="lr_scheduler", type=SettingType.CHOICE, label="Learning rate scheduler", in_advanced=True, flag="--lr_scheduler", emit=Emit.ALWAYS,
        section=Section.OPTIMIZER, choices=(Choice("", "(default)"), *(Choice(name) for name in SCHEDULERS)),
        help="How the learning rate changes during training. Empty: the scheduler that the GPU memory (VRAM) setting uses.",
    ),
    Setting(
        name="reg_data_dir", type=SettingType.TEXT, label="Regularization images", in_advanced=True, placeholder="a folder of images with captions",
        section=Section.DATASET, help="Images that keep what the model already knows while it learns from yours.", flag="--reg_data_dir",
    ),
    Setting(
        name="enable_bucket", type=SettingType.SWITCH, label="Keep each image’s shape (buckets)", section=Section.DATASET, default=True, in_advanced=True,
        help="Trains wide and tall images in their own shape. Off: each image is cropped to a square.",
        flag="--enable_bucket", emit=Emit.DATASET, dataset_key="enable_bucket",
    ),
    Setting(
        name=OTHER_FLAGS, type=SettingType.LINES, label="Other flags of the trainer", section=Section.OTHER, default="",
        placeholder="max_grad_norm = 1.0\nnetwork_train_unet_only = true",
        help="Other kohya flags, one per line: name = value. Each name and value is checked before the training starts.",
    ),
)  # fmt: skip
SETTINGS: Mapping[str, Setting] = MappingProxyType({setting.name: setting for setting in ROWS})
OWN_KEYS = tuple(setting for setting in ROWS if not setting.in_advanced and setting.name != OTHER_FLAGS)
IN_ADVANCED = tuple(setting for setting in ROWS if setting.in_advanced)

SET_BY_FORM = {
    flag.removeprefix("--"): setting.name
    for setting in OWN_KEYS
    for flag in (*((setting.flag,) if setting.emit is not Emit.NEVER else ()), *setting.replaces)
}
DATASET_KEYS = {setting.name: setting.dataset_key for setting in IN_ADVANCED if setting.emit is Emit.DATASET} | {
    name: name for name in DATASET_FLAGS
}
NOT_ON_COMMAND_LINE = frozenset({*DATASET_KEYS, *SUBSET_FLAGS, *(setting.name for setting in IN_ADVANCED if setting.emit is Emit.NEVER)})


def _default(name: str) -> Any:
    return SETTINGS[name].default


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The checked settings of one training, under the names of ui_state.json.

    learning_rate stays as it was typed. advanced holds trainer flags without their dashes.
    """

    lora_name: str
    concept_sentence: str = _default("concept_sentence")
    base_model: str = _default("base_model")
    vram: str = _default("vram")
    num_repeats: int = _default("num_repeats")
    max_train_epochs: int = _default("max_train_epochs")
    sample_prompts: str = _default("sample_prompts")
    sample_every_n_steps: int = _default("sample_every_n_steps")
    resolution: int = _default("resolution")
    enable_checkpointing: bool = _default("enable_checkpointing")
    resume_from_checkpoint: str = _default("resume_from_checkpoint")
    enable_monitoring: bool = _default("enable_monitoring")
    seed: int = _default("seed")
    workers: int = _default("workers")
    learning_rate: str = _default("learning_rate")
    save_every_n_epochs: int = _default("save_every_n_epochs")
    guidance_scale: float = _default("guidance_scale")
    timestep_sampling: str = _default("timestep_sampling")
    network_dim: int = _default("network_dim")
    advanced: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for setting in OWN_KEYS:
            setting.check(getattr(self, setting.name))
        for name, value in self.advanced.items():
            check_advanced(name, value)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the config of a state; missing keys get their defaults, unknown keys are ignored.

        Raises:
            ConfigError: With the field.
        """
        values = {name: _parse(name, state[name]) for name in STATE_KEYS if state.get(name) is not None}
        if "lora_name" not in values:
            raise ConfigError("Give your LoRA a name.", field="lora_name")
        return cls(**values)

    def flag(self, name: str) -> Any:
        """Return the value of a trainer flag among the advanced settings: as set, else the form's default, else the trainer's own."""
        if name in self.advanced:
            return self.advanced[name]
        default = SETTINGS[name].default if name in SETTINGS else None
        return all_flags()[name].default if default is None else default

    def to_state(self) -> dict[str, Any]:
        """Return the keys and values of ui_state.json."""
        return {name: dict(self.advanced) if name == "advanced" else getattr(self, name) for name in STATE_KEYS}


STATE_KEYS = tuple(attribute.name for attribute in fields(TrainConfig))  # the order in ui_state.json


def _parse(name: str, value: Any) -> Any:
    if name != "advanced":
        return SETTINGS[name].parse(value)
    if not isinstance(value, Mapping):
        raise ConfigError("The advanced settings must be a table of kohya's flag names and values.", field="advanced")
    return dict(value)


def check_advanced(name: str, value: Any, *, typed: str | None = None) -> None:
    """Raise ConfigError if a trainer flag has a separate field in the form, or cannot be set to this value.

    typed is the text that the value was read from, which the message quotes.
    """
    if name in SET_BY_FORM:
        label = SETTINGS[SET_BY_FORM[name]].label
        raise ConfigError(f"The advanced setting “{name}” is set by the field “{label}” of the form; use that.", field="advanced")
    row = SETTINGS.get(name)
    if row is not None and row.in_advanced:
        check_flag(name, value, subject=row.label, field=name, typed=typed)
    else:
        check_flag(name, value, typed=typed)
