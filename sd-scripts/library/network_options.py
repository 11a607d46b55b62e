"""The parsed --network_args, and the parsed key=value pairs of other flags. networks/ and library.cli make them from the texts, once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class KeyValues:
    """The `key=value` pairs of --optimizer_args or --lr_scheduler_args: parsed, and as they were given, for messages and metadata."""

    values: Mapping[str, Any] = field(default_factory=dict)
    texts: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RateOptions:
    """The --network_args that change learning rates: LoRA+'s ratios, and rates by regular expressions over module names."""

    loraplus_lr_ratio: float | None = None
    loraplus_unet_lr_ratio: float | None = None
    loraplus_text_encoder_lr_ratio: float | None = None
    network_reg_lrs: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class LoRAOptions(RateOptions):
    """The --network_args of a LoRA; None and empty values mean kohya's defaults.

    `*_dim` are ranks by layer type (0 means not trained), `in_dims` are the ranks of the input layers. Block indices are texts such as
    "0-3,8", which depend on the model. `network_reg_dims` maps regular expressions over module names to ranks.
    """

    train_blocks: str = "all"
    split_qkv: bool = False
    train_t5xxl: bool = False
    verbose: bool = False
    rank_dropout: float = 0.0
    module_dropout: float = 0.0
    img_attn_dim: int | None = None
    txt_attn_dim: int | None = None
    img_mlp_dim: int | None = None
    txt_mlp_dim: int | None = None
    img_mod_dim: int | None = None
    txt_mod_dim: int | None = None
    single_dim: int | None = None
    single_mod_dim: int | None = None
    in_dims: tuple[int, ...] = ()
    train_double_block_indices: str = "all"
    train_single_block_indices: str = "all"
    network_reg_dims: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, kw_only=True)
class LycorisOptions(RateOptions):
    """The --network_args of LyCORIS: the algorithm, and all arguments of the package's network by its names."""

    algo: str = "lora"
    arguments: Mapping[str, Any] = field(default_factory=dict)
