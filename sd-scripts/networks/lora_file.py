"""Reading a LoRA file of either form into kohya's names: for what begins with one, merges one, or changes one.

Owns what is read out of a file. Does not know where its modules belong in a model.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from library.errors import TrainerError
from library.models.weights import WeightFile
from networks.lora_keys import by_module, is_diffusers, to_kohya


@dataclass(frozen=True)
class Pair:
    """One module: what it adds to its frozen weight is scale * up @ down. down (R, in), up (out, R)."""

    name: str
    down: Tensor
    up: Tensor
    scale: float

    @property
    def rank(self) -> int:
        """R."""
        return self.down.shape[0]

    @property
    def alpha(self) -> float:
        """kohya's number: scale times rank."""
        return self.scale * self.rank

    def delta(self) -> Tensor:
        """What is added to the frozen weight: (out, in), float32."""
        return (self.up.float() @ self.down.float()) * self.scale


@dataclass(frozen=True)
class LoRAFile:
    """A LoRA in kohya's names, with its own notes and whether its file had diffusers' names."""

    path: Path
    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    had_diffusers_names: bool

    def pairs(self) -> Iterator[Pair]:
        """Yield its modules."""
        for name, module in by_module(self.tensors).items():
            down, up = module["lora_down.weight"], module["lora_up.weight"]
            alpha = float(module["alpha"]) if "alpha" in module else float(down.shape[0])
            yield Pair(name, down, up, alpha / down.shape[0])

    def ranks(self) -> dict[str, tuple[int, float]]:
        """Return (rank, alpha) by module."""
        return {pair.name: (pair.rank, pair.alpha) for pair in self.pairs()}


def read_lora(path: str | Path, what: str) -> LoRAFile:
    """Read a LoRA of kohya's or diffusers' form, called `what` in messages.

    Raises TrainerError (bad_model) when the file is missing, damaged, or holds something else.
    """
    file = WeightFile(path, what)
    tensors = {name: file.tensor(name) for name in file.names}
    if odd := next((name for name, tensor in tensors.items() if not tensor.float().isfinite().all()), None):
        raise file.damaged(f"{odd} holds numbers that are none (NaN or infinity)")
    renamed = is_diffusers(tensors)
    try:
        tensors = to_kohya(tensors) if renamed else tensors
        modules = by_module(tensors)
    except TrainerError as error:
        raise TrainerError(f"{what} {path}: {error}", reason_code=error.reason_code) from None
    if not modules:
        raise file.damaged("it holds no module")
    return LoRAFile(Path(path), tensors, dict(file.metadata), renamed)
