"""LyCORIS (`--network_module lycoris.kohya`) as a TrainedNetwork.

The package is optional (requirements-lycoris.txt) and imported only if it is used. Its initial weights and dropout are seeded by (seed, step,
micro step), so a resume draws the same numbers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from library.config import NetworkConfig
from library.errors import TrainerError
from library.network_options import LycorisOptions, RateOptions
from library.placement.quantization import QuantizedLinear
from library.randomness import derived_seed
from library.weights.safetensors_file import open_weights
from networks.base import TrainedNetwork
from networks.low_rank import ALPHA
from networks.lycoris_args import BYPASS


class _Layer(Protocol):
    multiplier: float


class PackageNetwork(nn.Module):
    """The type of the package's network: the members that are used here. Only for annotations: the package has none of its own."""

    loras: list[_Layer]
    apply_max_norm_regularization: Callable[[float, torch.device], object]


class LycorisNetwork(TrainedNetwork):
    """The network of the LyCORIS package, applied to the models."""

    def __init__(self, inner: PackageNetwork, seed: int, *, max_norm: float, options: RateOptions) -> None:
        super().__init__(max_norm=max_norm, options=options)
        self.inner, self.seed = inner.eval(), seed

    def trainable_parameters(self, prefix: str) -> dict[str, nn.Parameter]:
        """Return the trainable parameters of one part."""
        return {name: parameter for name, parameter in self.inner.named_parameters() if name.startswith(f"{prefix}_")}

    def state(self) -> dict[str, Tensor]:
        """Return the tensors by LyCORIS' names, such as `lora_unet_double_blocks_0_img_attn_qkv.lokr_w1`, which ComfyUI reads."""
        return self.inner.state_dict()

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Load tensors by the names of `state`.

        Raises:
            TrainerError: If an alpha differs, which would change the effect.
        """
        own = self.state()
        for name in (name for name in weights if name.endswith(f".{ALPHA}")):
            if own[name].to("cpu", weights[name].dtype) != weights[name].cpu():
                raise TrainerError(
                    f"The weights were trained with {name} = {weights[name]:g}, not {own[name]:g}; give that --network_alpha."
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


@dataclass(frozen=True)
class FrozenModels:
    """What a network is applied to: the transformer, whether it is trained, and the text encoders that are trained."""

    transformer: nn.Module
    encoders: Sequence[nn.Module]
    trains_transformer: bool


def create(config: NetworkConfig, options: LycorisOptions, models: FrozenModels, *, seed: int) -> LycorisNetwork:
    """Create LyCORIS' network with its kohya interface, apply it to the models, and load --network_weights."""
    from lycoris.kohya import create_network

    transformer, encoders = models.transformer, list(models.encoders)
    arguments = dict(options.arguments)
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
    inner.apply_to(encoders, transformer, bool(encoders), models.trains_transformer)
    network = LycorisNetwork(inner, seed, max_norm=config.scale_weight_norms, options=options).to(_device(transformer))
    if config.network_weights:
        network.load_matching_weights(open_weights(config.network_weights, "--network_weights"), config.network_weights)
    return network


def _device(transformer: nn.Module) -> torch.device:
    return next(transformer.parameters()).device
