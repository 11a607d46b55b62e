"""LyCORIS (`--network_module lycoris.kohya`) as a TrainedNetwork.

The package is optional (requirements-lycoris.txt) and imported only if it is used. Its initial weights and dropout are seeded by (seed, step,
micro step), so a resume draws the same numbers.
"""

import importlib.util
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from fluxgym.contract.limits import MAX_RANK
from library.command import finite
from library.config import NetworkConfig, SaveKeys
from library.errors import TrainerError
from library.placement.quantization import QuantizedLinear
from library.randomness import derived_seed
from library.weights.safetensors_file import open_weights
from networks.base import TrainedNetwork
from networks.network_args import RATIOS, LoRAOptions, check_rank, switch

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
    """Parse a whole number; raises ValueError for any other text, and one beyond MAX_COUNT."""
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


class _Layer(Protocol):
    multiplier: float


class PackageNetwork(nn.Module):
    """The type of the package's network: the members that are used here. Only for annotations: the package has none of its own."""

    loras: list[_Layer]
    apply_max_norm_regularization: Callable[[float, torch.device], object]


class LycorisNetwork(TrainedNetwork):
    """The network of the LyCORIS package, applied to the models."""

    def __init__(self, inner: PackageNetwork, seed: int, *, max_norm: float, options: LoRAOptions) -> None:
        super().__init__(max_norm=max_norm, options=options)
        self.inner, self.seed = inner.eval(), seed

    def trainable_parameters(self, prefix: str) -> dict[str, nn.Parameter]:
        """Return the trainable parameters of one part."""
        return {name: parameter for name, parameter in self.inner.named_parameters() if name.startswith(f"{prefix}_")}

    def state(self) -> dict[str, Tensor]:
        """Return the tensors by LyCORIS' names, such as `lora_unet_double_blocks_0_img_attn_qkv.lokr_w1`, which ComfyUI reads."""
        return self.inner.state_dict()

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Load tensors by the names of `state`; raises TrainerError if an alpha differs, which would change the effect."""
        own = self.state()
        for name in (name for name in weights if name.endswith(".alpha")):
            if own[name].to("cpu", weights[name].dtype) != weights[name].cpu():
                raise TrainerError(
                    f"the weights were trained with {name} = {weights[name]:g}, not {own[name]:g}; give that --network_alpha."
                )
        self.inner.load_state_dict(dict(weights), strict=False)

    def set_multiplier(self, multiplier: float) -> None:
        """Set the factor of the network's effect; 0 disables the network."""
        for module in self.inner.loras:
            module.multiplier = multiplier

    def start_micro_step(self, step: int, micro: int) -> None:
        """Seed and enable LyCORIS' dropout; gradient checkpointing restores the generator state when it recomputes."""
        torch.manual_seed(derived_seed(self.seed, "lycoris", step, micro))
        self.inner.train()

    def after_step(self) -> None:
        """Disable dropout and limit the norms, for algorithms that support it."""
        self.inner.eval()
        if self.max_norm:
            with torch.no_grad():
                self.inner.apply_max_norm_regularization(self.max_norm, next(self.inner.parameters()).device)


def check(config: NetworkConfig, save_keys: SaveKeys) -> None:
    """Raise TrainerError if the package is missing, or flags and --network_args require what it cannot do here."""
    if importlib.util.find_spec("lycoris") is None:
        raise TrainerError("--network_module lycoris.kohya needs the package lycoris-lora: pip install -r requirements-lycoris.txt.")
    arguments = parse(config.network_args)
    algo = arguments["algo"]
    if algo not in ALGORITHMS:
        raise TrainerError(f"--network_args algo={algo} is not supported; use one of {', '.join(ALGORITHMS)}.")
    check_rank(config.network_dim, FULL_RANK if algo == "lokr" else MAX_RANK)
    _ratios(arguments)
    _check_preset(arguments)
    if config.dim_from_weights:
        raise TrainerError(
            "--dim_from_weights reads ranks, which not every algorithm of LyCORIS has; give --network_dim and --network_args."
        )
    if save_keys != SaveKeys.KOHYA:
        raise TrainerError(f"--save_keys {save_keys} has names for LoRA only; LyCORIS is saved under its own.")


def parse(pairs: Iterable[str]) -> dict[str, Any]:
    """Parse --network_args for LyCORIS; raises TrainerError naming the pair that is unknown, unreadable or refused."""
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


def create(
    config: NetworkConfig, transformer: nn.Module, encoders: list[nn.Module], *, trains_transformer: bool, seed: int
) -> LycorisNetwork:
    """Create LyCORIS' network with its kohya interface, apply it to the models, and load --network_weights.

    `encoders` are the text encoders to train.
    """
    from lycoris.kohya import create_network

    arguments = parse(config.network_args)
    if arguments["algo"] in BYPASS and not arguments.get("dora_wd"):
        arguments.setdefault("bypass_mode", True)  # adds to the layer's output: exact in any precision of the frozen weight
    elif any(isinstance(module, QuantizedLinear) for module in transformer.modules()):
        what = "dora_wd=True" if arguments.get("dora_wd") else f"algo={arguments['algo']}"
        raise TrainerError(
            f"--network_args {what} works on the frozen weights themselves, which are quantized; leave out --fp8_base or --base_quantization."
        )
    given = arguments | {"dropout": arguments.get("dropout") or config.network_dropout}
    torch.manual_seed(derived_seed(seed, "lycoris"))
    try:
        inner = create_network(1.0, config.network_dim, config.network_alpha, None, encoders, transformer, warn_on_unmatched=False, **given)
    except ValueError as error:
        raise TrainerError(f"--network_args do not fit this model: LyCORIS reports: {error}") from None
    inner.apply_to(encoders, transformer, bool(encoders), trains_transformer)
    network = LycorisNetwork(inner, seed, max_norm=config.scale_weight_norms, options=_ratios(arguments)).to(_device(transformer))
    if config.network_weights:
        network.load_matching_weights(open_weights(config.network_weights, "--network_weights"), config.network_weights)
    return network


def _ratios(arguments: Mapping[str, Any]) -> LoRAOptions:
    """Return LoRA+'s ratios; raises TrainerError for one out of range."""
    return LoRAOptions(**{name: arguments[name] for name in RATIOS if name in arguments})


def _check_preset(arguments: Mapping[str, Any]) -> None:
    """Raise TrainerError for a preset that is neither a LyCORIS preset nor a file."""
    from lycoris.config import PRESET

    preset = arguments.get("preset", "full")
    if preset not in PRESET and not Path(preset).is_file():
        raise TrainerError(f"--network_args preset={preset} is neither a file nor one of {', '.join(PRESET)}.")


def _device(transformer: nn.Module) -> torch.device:
    return next(transformer.parameters()).device
