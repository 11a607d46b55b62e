"""TrainedNetwork, the interface between the training and a trainable network, and LoRANetwork."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fluxgym.contract.codes import ReasonCode
from library.errors import TrainerError
from library.network_options import RateOptions
from networks.lora_module import LoRAModule, MicroStep
from networks.low_rank import ALPHA, frobenius


class TrainedNetwork(nn.Module, ABC):
    """A trainable network over frozen models; `parameters` are trained, `weights` are saved."""

    def __init__(self, *, max_norm: float, options: RateOptions) -> None:
        """`max_norm` limits the norm of each module's weight change (--scale_weight_norms); 0 disables the limit."""
        super().__init__()
        self.max_norm, self.options = max_norm, options

    @abstractmethod
    def trainable_parameters(self, prefix: str) -> dict[str, nn.Parameter]:
        """Return the trainable parameters of one part, which has this prefix, by module and tensor name."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Return the tensors to save, by their names in the file; on their device, not copied."""

    @abstractmethod
    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Load tensors by the names of `state`; some may be missing, and their shapes have been checked."""

    @abstractmethod
    def set_multiplier(self, multiplier: float) -> None:
        """Set the factor of the network's effect; 0 disables the network."""

    @abstractmethod
    def start_micro_step(self, step: int, micro: int) -> None:
        """Start a micro step: seed its dropout and enable dropout until after_step."""

    @abstractmethod
    def after_step(self) -> None:
        """End the step: disable dropout and limit the norms to max_norm."""

    def weights(self, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
        """Return copies of the tensors to save in host memory, in `dtype` (None keeps the dtype of each tensor)."""
        return {name: tensor.detach().to("cpu", dtype or tensor.dtype, copy=True).contiguous() for name, tensor in self.state().items()}

    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of each tensor in float32, and an empty text for a tensor of zeros."""
        weights = self.weights(torch.float32)
        return {name: hashlib.sha256(tensor.numpy().data).hexdigest() if tensor.any() else "" for name, tensor in weights.items()}

    def has_learned(self, since: Mapping[str, str]) -> bool:
        """Return True if the network's effect has changed since its digests were `since`.

        A new network has no effect because some tensors are zero: as long as these stay zero, changes of the others (weight decay) do not count.
        """
        now = self.digests()
        zeros = [name for name, digest in since.items() if not digest]
        return any(now[name] for name in zeros) if zeros else now != since

    def load(self, weights: Mapping[str, Tensor], source: str) -> None:
        """Load the complete weights of a checkpoint.

        Raises:
            TrainerError: Naming `source` and the first name or shape that does not fit.
        """
        own = self.state()
        if set(own) != set(weights):
            mismatch = sorted(set(own) ^ set(weights))[0]
            raise TrainerError(f"{source} does not fit this network: {mismatch} is in only one of them.", reason_code=ReasonCode.BAD_MODEL)
        self._check_shapes(own, weights, source)
        self.load_weights(weights)

    def load_matching_weights(self, weights: Mapping[str, Tensor], source: str) -> None:
        """Load the tensors of another LoRA that this network has too, and print how many tensors do not match.

        Raises:
            TrainerError: If no trained tensor matches or a shape differs; the message names `source`.
        """
        shared = self.check_matching_weights(weights, source)
        self.load_weights(shared)
        fresh, unused = len(self.state()) - len(shared), len(weights) - len(shared)
        if fresh or unused:
            print(f"{source}: {len(shared)} tensors are loaded, {fresh} start fresh, {unused} are not used", flush=True)

    def check_matching_weights(self, weights: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
        """Return the tensors whose names this network has too.

        Raises:
            TrainerError: As load_matching_weights does.
        """
        own = self.state()
        shared = {name: tensor for name, tensor in weights.items() if name in own}
        if all(name.endswith(f".{ALPHA}") for name in shared):
            raise TrainerError(
                f"{source} does not fit this network: they have no trained tensor in common.", reason_code=ReasonCode.BAD_MODEL
            )
        self._check_shapes(own, shared, source)
        return shared

    @staticmethod
    def _check_shapes(own: Mapping[str, Tensor], weights: Mapping[str, Tensor], source: str) -> None:
        for name, tensor in weights.items():
            if own[name].shape != tensor.shape:
                raise TrainerError(
                    f"{source} does not fit this network: {name} is {list(tensor.shape)}, not {list(own[name].shape)}.",
                    reason_code=ReasonCode.BAD_MODEL,
                )


class LoRANetwork(TrainedNetwork):
    """A network of LoRA modules, with kohya's names."""

    def __init__(self, modules: list[LoRAModule], micro_step: MicroStep, *, max_norm: float, options: RateOptions) -> None:
        super().__init__(max_norm=max_norm, options=options)
        self.loras, self.micro_step = modules, micro_step
        for module in modules:
            self.add_module(module.name, module)

    def trainable_parameters(self, prefix: str) -> dict[str, nn.Parameter]:
        """Return the down and up factors of one part."""
        chosen = [lora for lora in self.loras if lora.name.startswith(f"{prefix}_")]
        return {f"{lora.name}.{name}": parameter for lora in chosen for name, parameter in lora.named_parameters()}

    def state(self) -> dict[str, Tensor]:
        """Return kohya's tensors: `….lora_down.weight`, `….lora_up.weight`, `….alpha`."""
        return {f"{lora.name}.{leaf}": tensor for lora in self.loras for leaf, tensor in lora.saved().items()}

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Load the modules whose tensors are complete; a missing alpha means the network's alpha."""
        for lora in self.loras:
            own = lora.saved()
            given = {leaf: weights.get(f"{lora.name}.{leaf}") for leaf in own}
            if all(given[leaf] is not None for leaf in own if leaf != ALPHA):
                _load_weights(lora, {leaf: own[leaf] if tensor is None else tensor for leaf, tensor in given.items()})

    def set_multiplier(self, multiplier: float) -> None:
        """Set the factor of the network's effect; 0 disables the network."""
        for lora in self.loras:
            lora.multiplier = multiplier

    def start_micro_step(self, step: int, micro: int) -> None:
        """Start a micro step: seed its dropout and enable dropout until after_step."""
        self.micro_step.step, self.micro_step.micro, self.micro_step.active = step, micro, True

    def after_step(self) -> None:
        """End the step: disable dropout and limit each module's norm to max_norm."""
        self.micro_step.active = False
        if self.max_norm:
            for lora in self.loras:
                limit_norm(lora, self.max_norm)


def _load_weights(lora: LoRAModule, weights: Mapping[str, Tensor]) -> None:
    try:
        lora.load_weights(weights)
    except ValueError as error:
        raise TrainerError(
            f"The weights of {lora.name} do not fit --network_args split_qkv=True: {error}; train on without it.",
            reason_code=ReasonCode.BAD_MODEL,
        ) from None


@torch.no_grad()
def limit_norm(lora: LoRAModule, max_norm: float) -> None:
    """Scale both factors of a module so that the Frobenius norm of its weight change is at most `max_norm`."""
    squares = [frobenius(down, up).square() for down, up in lora.factors()]
    norm = lora.scale * torch.stack(squares).sum().sqrt()
    if norm > max_norm:
        for factor in (factor for pair in lora.factors() for factor in pair):
            factor.mul_((max_norm / norm).sqrt())
