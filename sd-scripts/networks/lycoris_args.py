"""Parses and checks kohya's `--network_args key=value …` of lycoris.kohya, without PyTorch where the package is not used."""

import importlib.util
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from fluxgym.contract.limits import MAX_RANK
from library.command import finite
from library.config import NetworkConfig, SaveKeys
from library.errors import TrainerError
from networks.network_args import RATIOS, LoRAOptions, check_dropouts, check_rank, switch

BYPASS = ("lora", "locon", "loha", "lokr", "glora")  # algorithms that support bypass_mode, also over quantized layers
ALGORITHMS = (*BYPASS, "diag-oft", "boft", "ia3")  # "full" and "dylora" do not load as they were saved
REFUSED = {
    "use_scalar": "its factor is folded into the saved weights, so that a resumed training would differ",
    "rs_lora": "its saved alpha and its trained scale differ",
    "train_norm": "FLUX's norms have no weights of that kind",
    "train_t5xxl": "LyCORIS has no names for T5 that other programs read",
    "train_llm_adapter": "FLUX has none",
}
TEXTS = ("algo", "preset")
SWITCHES = ("use_tucker", "rescaled", "dora_wd", "wd_on_output", "full_matrix", "bypass_mode", "unbalanced_factorization", "decompose_both")
NUMBERS = ("dropout", "rank_dropout", "module_dropout", "constraint", "conv_alpha", *RATIOS)
COUNTS = ("factor", "block_size", "conv_dim")
MAX_COUNT = 2**31 - 1
FULL_RANK = 1_000_000  # LoKr trains full matrices above the layers' width, and LyCORIS' examples give 100000 for that


def _count(text: str) -> int:
    """Parse a whole number.

    Raises:
        ValueError: For any other text, or a number beyond MAX_COUNT.
    """
    try:
        value = int(text)
    except ValueError:
        value = MAX_COUNT + 1
    if abs(value) > MAX_COUNT:
        raise ValueError(f"it must be a whole number of at most {MAX_COUNT}")
    return value


KINDS: Mapping[str, Callable[[str], Any]] = (
    dict.fromkeys(TEXTS, str) | dict.fromkeys(SWITCHES, switch) | dict.fromkeys(NUMBERS, finite) | dict.fromkeys(COUNTS, _count)
)


def check(config: NetworkConfig, save_keys: SaveKeys) -> None:
    """Raise TrainerError if the package is missing, or flags and --network_args require what it cannot do here."""
    if importlib.util.find_spec("lycoris") is None:
        raise TrainerError("--network_module lycoris.kohya needs the package lycoris-lora: pip install -r requirements-lycoris.txt.")
    arguments = parse(config.network_args)
    algo = arguments["algo"]
    if algo not in ALGORITHMS:
        raise TrainerError(f"--network_args algo={algo} is not supported; use one of {', '.join(ALGORITHMS)}.")
    check_rank(config.network_dim, FULL_RANK if algo == "lokr" else MAX_RANK)
    ratios(arguments)
    check_dropouts(arguments)
    _check_preset(arguments)
    if config.dim_from_weights:
        raise TrainerError(
            "--dim_from_weights reads ranks, which not every algorithm of LyCORIS has; give --network_dim and --network_args."
        )
    if save_keys != SaveKeys.KOHYA:
        raise TrainerError(f"--save_keys {save_keys} has names for LoRA only; LyCORIS is saved under its own.")


def parse(pairs: Iterable[str]) -> dict[str, Any]:
    """Parse --network_args for LyCORIS.

    Raises:
        TrainerError: Naming the pair that is unknown, unreadable or refused.
    """
    values: dict[str, Any] = {"algo": "lora"}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if key in REFUSED and text.lower() != "false":
            raise TrainerError(f"--network_args {pair} is not supported: {REFUSED[key]}.")
        if not equals or key not in (*KINDS, *REFUSED):
            raise TrainerError(f"--network_args {pair} is not known to LyCORIS here; known: {', '.join(sorted(KINDS))}.")
        try:
            values[key] = KINDS.get(key, switch)(text)
        except ValueError as error:
            raise TrainerError(f"--network_args {pair} cannot be read: {error}.") from None
    return values | {"algo": values["algo"].lower()}


def ratios(arguments: Mapping[str, Any]) -> LoRAOptions:
    """Return LoRA+'s ratios.

    Raises:
        TrainerError: If one is out of range.
    """
    return LoRAOptions(**{name: arguments[name] for name in RATIOS if name in arguments})


def _check_preset(arguments: Mapping[str, Any]) -> None:
    """Raise TrainerError for a preset that is neither a LyCORIS preset nor a file."""
    from lycoris.config import PRESET

    preset = arguments.get("preset", "full")
    if preset not in PRESET and not Path(preset).is_file():
        raise TrainerError(f"--network_args preset={preset} is neither a file nor one of {', '.join(PRESET)}.")
