"""Parses kohya's `--network_args key=value …` of networks.lora_flux into LoRAOptions."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from fluxgym.contract.block_numbers import block_numbers
from fluxgym.contract.learning import DROPOUTS, learns_little, learns_nothing
from fluxgym.contract.limits import MAX_DROPOUT
from library.command import MAX_RATE, MAX_RATIO, finite, rank
from library.errors import TrainerError, warn

TRAIN_BLOCKS = ("all", "double", "single")
PARTS = ("img_attn", "txt_attn", "img_mlp", "txt_mlp", "img_mod", "txt_mod", "single", "single_mod")
INPUTS = ("img_in", "time_in", "vector_in", "guidance_in", "txt_in")
RATIOS = ("loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio")
WITHOUT_EFFECT = ("conv_dim", "conv_alpha")
REFUSED = {
    "ggpo_beta": "its perturbations need the gradients of the previous step, which no checkpoint contains, so a resumed training would differ",
    "dropout": "use --network_dropout",
}
REFUSED["ggpo_sigma"] = REFUSED["ggpo_beta"]


@dataclass(frozen=True, kw_only=True)
class LoRAOptions:
    """The --network_args of a LoRA; None and empty values mean kohya's defaults. The constructor raises TrainerError for invalid values.

    `*_dim` are ranks by layer type (0 means not trained), `in_dims` are the ranks of INPUTS. Block indices are texts such as "0-3,8", which
    block_choice checks. `network_reg_*` map regular expressions over module names to ranks or learning rates.
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
    network_reg_lrs: tuple[tuple[str, float], ...] = ()
    loraplus_lr_ratio: float | None = None
    loraplus_unet_lr_ratio: float | None = None
    loraplus_text_encoder_lr_ratio: float | None = None

    def __post_init__(self) -> None:
        if self.train_blocks not in TRAIN_BLOCKS:
            raise _wrong("train_blocks", self.train_blocks, f"use one of {', '.join(TRAIN_BLOCKS)}")
        if self.in_dims and len(self.in_dims) != len(INPUTS):
            raise _wrong("in_dims", ",".join(map(str, self.in_dims)), f"it needs {len(INPUTS)} ranks, for {', '.join(INPUTS)}")
        check_dropouts({name: getattr(self, name) for name in ("rank_dropout", "module_dropout")})
        for name in RATIOS:
            if (ratio := getattr(self, name)) is not None and not 1 / MAX_RATIO <= ratio <= MAX_RATIO:
                raise _wrong(name, ratio, f"it must be at least {1 / MAX_RATIO:g} and at most {MAX_RATIO:g}")


def parse_network_args(pairs: Iterable[str] | None) -> LoRAOptions:
    """Parse `key=value` pairs.

    Raises:
        TrainerError: Naming the first pair that is unknown, malformed or unsupported.
    """
    values: dict[str, Any] = {}
    for pair in pairs or ():
        key, equals, text = pair.partition("=")
        if not equals or key not in KINDS:
            raise _unknown(pair, key)
        if key in WITHOUT_EFFECT:
            continue
        try:
            values[key] = KINDS[key](text.strip())
        except ValueError as error:
            raise _wrong(key, text, str(error)) from None
    return LoRAOptions(**values)


def check_dropouts(values: Mapping[str, Any]) -> None:
    """Raise TrainerError for a dropout among --network_args that is not a rate, or with which nothing would be learned."""
    for name in (*DROPOUTS, "dropout"):
        if not 0 <= values.get(name, 0) <= MAX_DROPOUT:
            raise _wrong(name, values[name], f"it must be at least 0 and at most {MAX_DROPOUT}; above, nothing would be learned")


def warn_of_network_args(pairs: Iterable[str] | None) -> None:
    """Print a warning for each of --network_args that has no effect, or with which the training is likely to learn nothing."""
    given = {key: value for key, _, value in (pair.partition("=") for pair in pairs or ())}
    for name, value, why in learns_little({name: finite(given[name]) for name in DROPOUTS if name in given}):
        warn(f"--network_args {name}={value} {why}")
    for key in given:
        if key in WITHOUT_EFFECT:
            warn(f"--network_args {key} has no effect: FLUX has no convolutions; kohya's FLUX network ignores it too")


def block_choice(name: str, text: str, num_blocks: int) -> set[int]:
    """Parse "all", "none" or "0-3,8" into block indices.

    Raises:
        TrainerError: If the model does not have a block; the message names `name`.
    """
    try:
        return block_numbers(text, num_blocks)
    except ValueError as error:
        raise _wrong(name, text, str(error)) from None


def check_rank(value: int, highest: int) -> None:
    """Raise TrainerError if --network_dim is above a limit."""
    if value > highest:
        raise TrainerError(f"--network_dim {value} is too large; it must be at most {highest}.")


def _unknown(pair: str, key: str) -> TrainerError:
    if key in REFUSED:
        return TrainerError(f"--network_args {pair} is not supported: {REFUSED[key]}.")
    return TrainerError(f"--network_args {pair} is not supported; known: {', '.join(sorted(KINDS))}.")


def _wrong(name: str, value: object, remedy: str) -> TrainerError:
    return TrainerError(f"--network_args {name}={value} is not supported; {remedy}.")


def switch(text: str) -> bool:
    """Parse True or False, case-insensitive.

    Raises:
        ValueError: For any other text.
    """
    if text.lower() not in ("true", "false"):
        raise ValueError("use True or False")
    return text.lower() == "true"


def _rate(text: str) -> float:
    if not 0 < (value := finite(text)) <= MAX_RATE:
        raise ValueError(f"a learning rate must be above 0 and at most {MAX_RATE:g}")
    if why := learns_nothing("learning_rate", value):
        raise ValueError(f"the learning rate {why}")
    return value


def _ranks(text: str) -> tuple[int, ...]:
    return tuple(rank(part) for part in text.removeprefix("[").removesuffix("]").split(","))


def _pattern(text: str) -> str:
    try:
        return re.compile(text).pattern
    except (re.error, OverflowError) as error:
        raise ValueError(f"“{text}” is not a regular expression ({error})") from None


def _by_pattern(kind: Callable[[str], Any]) -> Callable[[str], tuple[tuple[str, Any], ...]]:
    """Return a parser of "pattern=value,pattern=value", which raises ValueError for a malformed part."""

    def read(text: str) -> tuple[tuple[str, Any], ...]:
        pairs = [part.strip().rpartition("=") for part in text.split(",") if part.strip()]
        if not all(equals for _, equals, _ in pairs):
            raise ValueError("write pattern=value,pattern=value")
        return tuple((_pattern(pattern.strip()), kind(value.strip())) for pattern, _, value in pairs)

    return read


def _kind(name: str, annotation: object) -> Callable[[str], Any]:
    special: dict[str, Callable[[str], Any]] = {
        "in_dims": _ranks,
        "network_reg_dims": _by_pattern(rank),
        "network_reg_lrs": _by_pattern(_rate),
    }
    plain: dict[object, Callable[[str], Any]] = {bool: switch, str: str, float: finite, int | None: rank, float | None: finite}
    return special.get(name) or plain[annotation]


KINDS: dict[str, Callable[[str], Any]] = {field.name: _kind(field.name, field.type) for field in fields(LoRAOptions)}
KINDS |= dict.fromkeys(WITHOUT_EFFECT, str)
