"""The trainer's configuration: frozen groups of settings, one for each concern.

A field has the name of the flag that it comes from (kohya's), and the value that the training uses, after flags that depend on each
other were resolved. `None`, `""` and `()` mean "not set". library.cli.parse makes the configuration from the command line; nothing
changes it afterwards.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from library.network_options import KeyValues, LoRAOptions, LycorisOptions


class MixedPrecision(StrEnum):
    """Precision of the frozen weights and of the arithmetic."""

    NO = "no"
    BF16 = "bf16"


class Quantization(StrEnum):
    """The format in which the weights of the frozen blocks are stored."""

    FP8 = "fp8"
    INT8 = "int8"
    NF4 = "nf4"


class NetworkModule(StrEnum):
    """--network_module: the module that creates the trained network."""

    LORA = "networks.lora_flux"
    LYCORIS = "lycoris.kohya"


class RateFlag(StrEnum):
    """The flag that gives the learning rate of a part of the model."""

    UNET = "unet_lr"
    TEXT_ENCODER = "text_encoder_lr"


class TimestepSampling(StrEnum):
    """How noise levels are drawn."""

    SIGMA = "sigma"
    UNIFORM = "uniform"
    SIGMOID = "sigmoid"
    SHIFT = "shift"
    FLUX_SHIFT = "flux_shift"


class WeightingScheme(StrEnum):
    """How noise levels are weighted, in drawing them or in the loss."""

    SIGMA_SQRT = "sigma_sqrt"
    LOGIT_NORMAL = "logit_normal"
    MODE = "mode"
    COSMAP = "cosmap"
    NONE = "none"
    UNIFORM = "uniform"


class PredictionType(StrEnum):
    """--model_prediction_type: how the prediction is computed from the transformer's output."""

    RAW = "raw"
    ADDITIVE = "additive"
    SIGMA_SCALED = "sigma_scaled"


class LossType(StrEnum):
    """How prediction and target are compared."""

    L1 = "l1"
    L2 = "l2"
    HUBER = "huber"
    SMOOTH_L1 = "smooth_l1"


class HuberSchedule(StrEnum):
    """How the threshold of a Huber loss depends on the noise level."""

    CONSTANT = "constant"
    EXPONENTIAL = "exponential"
    SNR = "snr"


class SaveKeys(StrEnum):
    """The format of the tensor names in a saved LoRA."""

    KOHYA = "kohya"
    DIFFUSERS = "diffusers"


class SavePrecision(StrEnum):
    """Precision of saved LoRA files."""

    FLOAT = "float"
    FP16 = "fp16"
    BF16 = "bf16"


@dataclass(frozen=True, kw_only=True)
class BaseWeights:
    """A LoRA file that is merged into the frozen models before training, and its multiplier."""

    path: str
    multiplier: float = 1.0


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where the images are, and how they are read and cached.

    `dataset_defaults` are the data set's options given as flags, by the names of library.data.schema; a dataset_config overrides them.
    """

    dataset_config: Path | None = None
    train_data_dir: str = ""
    reg_data_dir: str = ""
    in_json: str = ""
    conditioning_data_dir: str = ""
    dataset_defaults: Mapping[str, Any] = field(default_factory=dict)
    masked_loss: bool = False
    prior_loss_weight: float = 1.0
    max_data_loader_n_workers: int = 0
    cache_latents: bool = False
    cache_latents_to_disk: bool = False
    cache_text_encoder_outputs: bool = False
    cache_text_encoder_outputs_to_disk: bool = False


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The frozen models' files, and how text is encoded; t5xxl_max_token_length None means what the model was made with."""

    pretrained_model_name_or_path: str
    ae: str
    clip_l: str
    t5xxl: str
    tokenizer_cache_dir: str | None = None
    disable_mmap_load_safetensors: bool = False
    no_half_vae: bool = False
    t5xxl_max_token_length: int | None = None
    apply_t5_attn_mask: bool = False


@dataclass(frozen=True, kw_only=True)
class PlacementConfig:
    """Precision, quantization and where the transformer's blocks and activations are kept.

    base_quantization includes --fp8_base, gradient_checkpointing includes --cpu_offload_checkpointing. full_bf16 also trains in bfloat16.
    """

    mixed_precision: MixedPrecision = MixedPrecision.NO
    full_bf16: bool = False
    base_quantization: Quantization | None = None
    fp8_matmul: bool = False
    blocks_to_swap: int | None = None
    split_mode: bool = False
    gradient_checkpointing: bool = False
    cpu_offload_checkpointing: bool = False
    torch_compile: bool = False
    dynamo_backend: str = "inductor"


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The trained network: its kind, size, options, the LoRAs that it starts from, and the parts that it trains."""

    network_module: NetworkModule
    network_dim: int
    network_alpha: float
    network_args: LoRAOptions | LycorisOptions
    network_dropout: float = 0.0
    network_weights: str = ""
    dim_from_weights: bool = False
    network_train_unet_only: bool = False
    network_train_text_encoder_only: bool = False
    scale_weight_norms: float = 0.0
    base_weights: tuple[BaseWeights, ...] = ()

    def is_on(self, switch: str) -> bool:
        """Return True if a switch of --network_args is on; LyCORIS has none that choose parts."""
        return isinstance(self.network_args, LoRAOptions) and bool(getattr(self.network_args, switch))


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """Optimizer, learning rates, schedule, accumulation, clipping and averaging. A step count up to 1.0 is a share of all steps.

    text_encoder_lr has at least one value.
    """

    optimizer_type: str
    optimizer_args: KeyValues
    learning_rate: float
    unet_lr: float
    text_encoder_lr: tuple[float, ...]
    lr_scheduler: str
    lr_scheduler_type: str = ""
    lr_scheduler_args: KeyValues
    lr_warmup_steps: int | float = 0
    lr_decay_steps: int | float = 0
    lr_scheduler_num_cycles: int
    lr_scheduler_power: float
    lr_scheduler_timescale: int | None = None
    lr_scheduler_min_lr_ratio: float | None = None
    gradient_accumulation_steps: int
    max_grad_norm: float
    ema_decay: float | None = None

    def rate(self, flag: RateFlag, index: int) -> float:
        """Return a flag's value at an index; the last value holds for all indices beyond it."""
        rates = (self.unet_lr,) if flag == RateFlag.UNET else self.text_encoder_lr
        return rates[min(index, len(rates) - 1)]


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Noise levels, what is predicted, and how it is compared. Timesteps are 0 to 1000."""

    timestep_sampling: TimestepSampling
    min_timestep: int
    max_timestep: int
    sigmoid_scale: float
    discrete_flow_shift: float
    weighting_scheme: WeightingScheme
    logit_mean: float
    logit_std: float
    mode_scale: float
    model_prediction_type: PredictionType
    guidance_scale: float
    loss_type: LossType
    huber_schedule: HuberSchedule
    huber_c: float
    huber_scale: float
    ip_noise_gamma: float
    ip_noise_gamma_random_strength: bool = False


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """Prompts of the sample images, and the intervals at which they are drawn."""

    sample_prompts: str = ""
    sample_every_n_steps: int | None = None
    sample_every_n_epochs: int | None = None
    sample_at_first: bool = False


@dataclass(frozen=True, kw_only=True)
class ValidationConfig:
    """How often the held-out images are validated; the seed of their noise."""

    validation_seed: int
    validate_every_n_steps: int | None = None
    validate_every_n_epochs: int = 1
    max_validation_steps: int | None = None


@dataclass(frozen=True, kw_only=True)
class SaveConfig:
    """What is written, where and how often, and how much of it is kept.

    save_precision None keeps the trained one. `modelspec` are the texts of the --metadata_* flags, thumbnail is a file or a data URL.
    """

    output_dir: Path
    output_name: str
    save_precision: SavePrecision | None = None
    save_keys: SaveKeys = SaveKeys.KOHYA
    save_every_n_epochs: int | None = None
    save_every_n_steps: int | None = None
    save_n_epoch_ratio: int | None = None
    save_last_n_epochs: int | None = None
    save_last_n_epochs_state: int | None = None
    save_last_n_steps: int | None = None
    save_last_n_steps_state: int | None = None
    save_state: bool = False
    save_state_on_train_end: bool = False
    no_metadata: bool = False
    modelspec: Mapping[str, str | None] = field(default_factory=dict)

    def epoch_interval(self, num_epochs: int) -> int | None:
        """Return after how many epochs to save each time, None for never; --save_n_epoch_ratio divides the epochs, as in kohya."""
        return num_epochs // self.save_n_epoch_ratio or 1 if self.save_n_epoch_ratio else self.save_every_n_epochs


@dataclass(frozen=True, kw_only=True)
class LogConfig:
    """Where log lines and curves go."""

    console_log_level: str | None = None
    console_log_file: Path | None = None
    console_log_simple: bool = False
    logging_dir: Path | None = None
    log_with: str | None = None
    log_prefix: str = ""
    log_tracker_name: str | None = None
    log_tracker_config: Path | None = None
    log_config: bool = False
    wandb_run_name: str | None = None


@dataclass(frozen=True, kw_only=True)
class StartConfig:
    """Where a training begins if not at its beginning; without skip_until_initial_step the epochs are merely counted from there."""

    initial_epoch: int | None = None
    initial_step: int | None = None
    skip_until_initial_step: bool = False

    def flags(self) -> dict[str, Any]:
        """Return the flags that are set, as a checkpoint records them; empty at the beginning."""
        return {name: value for name, value in asdict(self).items() if value not in (None, False)}


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Seed, length, start position and the checkpoint to resume. max_train_epochs takes precedence over max_train_steps."""

    seed: int
    max_train_steps: int
    max_train_epochs: int | None = None
    start: StartConfig = StartConfig()
    resume: Path | None = None
    deterministic: bool = False
    debug_dataset: bool = False

    def length(self, steps_per_epoch: int) -> tuple[int, int]:
        """Return epochs and steps of a whole training: --max_train_epochs, else as many epochs as --max_train_steps needs."""
        if self.max_train_epochs:
            return self.max_train_epochs, self.max_train_epochs * steps_per_epoch
        return math.ceil(self.max_train_steps / steps_per_epoch), self.max_train_steps


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """Everything that one training is started with.

    `flag_values` are the values of all flags by kohya's names, after flags were resolved. They are only recorded under these names (metadata,
    --log_config, checkpoints), never interpreted. `warnings` name the flags without effect; `seed_is_drawn` is True without --seed.
    """

    data: DataConfig
    model: ModelConfig
    placement: PlacementConfig
    network: NetworkConfig
    optim: OptimConfig
    loss: LossConfig
    sample: SampleConfig
    validation: ValidationConfig
    save: SaveConfig
    log: LogConfig
    run: RunConfig
    flag_values: Mapping[str, Any]
    warnings: tuple[str, ...] = ()
    seed_is_drawn: bool = False
