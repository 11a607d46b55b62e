"""LoRA files put beside frozen models for drawing: any number of them, each with its strength.

Merging them into the weights is base_weights.py's; training has modules of its own in lora_module.py.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from networks.lora_file import LoRAFile, LoRAPair, read_lora
from networks.lora_merge import layer_for, linears_of, prefix_of
from networks.lora_module import add_lora


@dataclass(frozen=True)
class Attachment:
    """A LoRA file and how strongly it counts."""

    file: LoRAFile
    multiplier: float

    def attach(self, model: nn.Module, prefix: str, *, device: torch.device) -> None:
        """Let a model's layers, which compute on `device`, add the file's modules of one prefix (networks.base).

        Raises TrainerError naming the first module that the model does not have.
        """
        linears = linears_of(model, prefix)
        for pair in self.file.pairs():
            if pair.name.startswith(f"{prefix}_"):
                _attach(layer_for(linears, pair, str(self.file.path)), pair, self.multiplier * pair.scale, device)


def read_attachment(path: str, multiplier: float) -> Attachment:
    """Read a LoRA file of either form; raises TrainerError when it is damaged or has a module that belongs to no part of FLUX."""
    file = read_lora(path, "the LoRA")
    for pair in file.pairs():
        prefix_of(pair.name)
    return Attachment(file, multiplier)


def _attach(linear: nn.Linear, pair: LoRAPair, scale: float, device: torch.device) -> None:
    frozen = linear.forward
    down, up = pair.down.to(device, torch.float32), pair.up.to(device, torch.float32)

    def forward(x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        return add_lora(frozen(x), x, down, up, scale)

    linear.forward = forward  # type: ignore[method-assign, assignment]
