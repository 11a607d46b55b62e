"""Parses kohya's `--network_args key=value …` of networks.lora_flux into LoRAOptions."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Any

from fluxgym.contract.block_numbers import block_numbers
from fluxgym.contract.learning import DROPOUTS, learns_little
from fluxgym.contract.limits import MAX_DROPOUT
from library.errors import TrainerError
from library.limits import MAX_LEARNING_RATE, MAX_RATE_RATIO
from library.network_options import LoRAOptions, RateOptions
from library.number_parsing import finite, rank

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


def parse_network_args(pairs: Iterable[str] | None) -> LoRAOptions:
    """Parse `key=value` pairs.

    Raises:
        TrainerError: Naming the first pair that is unknown, malformed or unsupported.
    """
    values: dict[str, Any] = {}
    for pair in pairs or ():
        key, equals, text = pair.partition("=")
        if not equals or key not in VALUE_PARSERS:
            raise _unknown(pair, key)
        if key in WITHOUT_EFFECT:
            continue
        try:
            values[key] = VALUE_PARSERS[key](text.strip())
        except ValueError as error:
            raise _wrong(key, text, str(error)) from None
    options = LoRAOptions(**values)
    _check_options(options)
    return options


def _check_options(options: LoRAOptions) -> None:
    """Raise TrainerError for a value outside its range."""
    if options.train_blocks not in TRAIN_BLOCKS:
        raise _wrong("train_blocks", options.train_blocks, f"use one of {', '.join(TRAIN_BLOCKS)}")
    if options.in_dims and len(options.in_dims) != len(INPUTS):
        raise _wrong("in_dims", ",".join(map(str, options.in_dims)), f"it needs {len(INPUTS)} ranks, for {', '.join(INPUTS)}")
    check_dropouts({name: getattr(options, name) for name in ("rank_dropout", "module_dropout")})
    check_ratios(options)


def check_ratios(options: RateOptions) -> None:
    """Raise TrainerError for a ratio of LoRA+ outside its range."""
    for name in RATIOS:
        if (ratio := getattr(options, name)) is not None and not 1 / MAX_RATE_RATIO <= ratio <= MAX_RATE_RATIO:
            raise _wrong(name, ratio, f"it must be at least {1 / MAX_RATE_RATIO:g} and at most {MAX_RATE_RATIO:g}")


def check_dropouts(values: Mapping[str, Any]) -> None:
    """Raise TrainerError for a dropout among --network_args that is not a rate, or with which nothing would be learned."""
    for name in (*DROPOUTS, "dropout"):
        if not 0 <= values.get(name, 0) <= MAX_DROPOUT:
            raise _wrong(name, values[name], f"it must be at least 0 and at most {MAX_DROPOUT}; above, nothing would be learned")


def warnings_about_args(pairs: Iterable[str] | None) -> Iterator[str]:
    """Yield a warning for each `key=value` pair that has no effect, or with which the training is likely to learn nothing."""
    given = {key: value for key, _, value in (pair.partition("=") for pair in pairs or ())}
    for name, value, why in learns_little({name: finite(given[name]) for name in DROPOUTS if name in given}):
        yield f"--network_args {name}={value} {why}"
    for key in given:
        if key in WITHOUT_EFFECT:
            yield f"--network_args {key} has no effect: FLUX has no convolutions; kohya's FLUX network ignores it too"


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
    return TrainerError(f"--network_args {pair} is not supported; known: {', '.join(sorted(VALUE_PARSERS))}.")


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
    if not 0 < (value := finite(text)) <= MAX_LEARNING_RATE:
        raise ValueError(f"a learning rate must be above 0 and at most {MAX_LEARNING_RATE:g}")
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


VALUE_PARSERS: dict[str, Callable[[str], Any]] = {field.name: _kind(field.name, field.type) for field in fields(LoRAOptions)}
VALUE_PARSERS |= dict.fromkeys(WITHOUT_EFFECT, str)
