"""Applies LoRA files to frozen models for inference, without changing the weights.

lora_merge.py merges LoRAs into the weights instead; lora_module.py has the modules for training.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from networks.lora_file import LoRAFile, LoRAPair, read_lora
from networks.lora_merge import layer_for, linears_of, prefix_of
from networks.lora_module import add_lora


@dataclass(frozen=True)
class Attachment:
    """A LoRA file and its multiplier."""

    file: LoRAFile
    multiplier: float

    def attach(self, model: nn.Module, prefix: str, *, device: torch.device) -> None:
        """Add the file's modules of one prefix (such as FLUX_PREFIX) to the forward of a model's Linears.

        The layers compute on `device`.

        Raises:
            TrainerError: Naming the first module that the model does not have.
        """
        linears = linears_of(model, prefix)
        for pair in self.file.pairs():
            if pair.name.startswith(f"{prefix}_"):
                _attach(layer_for(linears, pair, str(self.file.path)), pair, self.multiplier * pair.scale, device)


def read_attachment(path: str, multiplier: float) -> Attachment:
    """Read a LoRA file in kohya's or diffusers' format.

    Raises:
        TrainerError: If it is damaged or has modules of another model.
    """
    file = read_lora(path, "the LoRA")
    for pair in file.pairs():
        prefix_of(pair.name)
    return Attachment(file, multiplier)


def _attach(linear: nn.Linear, pair: LoRAPair, scale: float, device: torch.device) -> None:
    frozen = linear.forward
    factors = pair.down.to(device, torch.float32), pair.up.to(device, torch.float32)

    def forward(x: Tensor) -> Tensor:
        """Return the layer's output plus the LoRA's: (..., in) -> (..., out)."""
        return add_lora(frozen(x), x, factors, scale)

    linear.forward = forward  # type: ignore[method-assign, assignment]
