"""LoRA files put on frozen models for drawing: any number of them, each with its strength, beside the weights or merged into them.

Training has modules of its own in lora_module.py.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from networks.base_weights import layer_for, linears_of, merge_into, prefix_of
from networks.lora_file import LoRAFile, Pair, read_lora
from networks.lora_math import add_lora


@dataclass(frozen=True)
class Attachment:
    """A LoRA file and how strongly it counts."""

    file: LoRAFile
    multiplier: float

    def put_on(self, model: nn.Module, prefix: str, *, device: torch.device, merge: bool) -> None:
        """Change a model's layers, which compute on `device`, by the file's modules of one prefix (networks.network).

        Merged, nothing is computed beside the weights. Raises TrainerError naming the first module that has no place in the model.
        """
        linears = linears_of(model, prefix)
        for pair in self.file.pairs():
            if pair.name.startswith(f"{prefix}_"):
                linear = layer_for(linears, pair, str(self.file.path))
                if merge:
                    merge_into(linear, pair, self.multiplier)
                else:
                    _attach(linear, pair, self.multiplier * pair.scale, device)


def read_attachment(path: str, multiplier: float) -> Attachment:
    """Read a LoRA file of either form; raises TrainerError when it is damaged or has a module that belongs to no part of FLUX."""
    file = read_lora(path, "the LoRA")
    for pair in file.pairs():
        prefix_of(pair.name)
    return Attachment(file, multiplier)


def _attach(linear: nn.Linear, pair: Pair, scale: float, device: torch.device) -> None:
    frozen = linear.forward
    down, up = pair.down.to(device, torch.float32), pair.up.to(device, torch.float32)

    def forward(x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        return add_lora(frozen(x), x, down, up, scale)

    linear.forward = forward
