"""Run the trainer's command and record, in order, what decides its bits: seeds, draws, casts and losses with their dtype and autocast state.

`python -m tests.support.recorder OUT.json FLAG...` trains in this process by the flags and writes the record. It watches calls from outside
(a profile function, a torch function mode, global module hooks), so it names no class of the loop. Draws of the data loader's threads are not
recorded: their order is not fixed, and none of them depends on another.
"""

import json
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

ROOT = Path(__file__).parents[2]
MODELS = {"Flux", "ClipTextEncoder", "T5EncoderModel"}
VAE_CALLS = {"VAE.encode", "VAE.decode"}
FUNCTIONS = {"randn", "rand", "float", "where", "mse_loss", "backward", "clamp"}
CHECK = "check_fit"  # creates a network over models without weights, and draws nothing that is trained
LOADER_SEEDS = {"order", "picture", "validation picture", "validation"}


class Recorder(TorchFunctionMode):
    """Collects events; what happens inside a model's forward is one event."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[list[Any]] = []
        self._depth = 0
        self._is_check = False

    def add(self, *event: Any) -> None:
        """Append one event with the state of autocast and of gradients."""
        autocast = str(torch.get_autocast_dtype("cpu")) if torch.is_autocast_enabled("cpu") else "off"
        self.events.append([*event, f"autocast {autocast}", f"grad {'on' if torch.is_grad_enabled() else 'off'}"])

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name in FUNCTIONS and not self._depth:
            self.add(name, _described(result))
        return result

    def before_module(self, module: nn.Module, inputs: Any) -> None:
        """Record the call of a whole model."""
        if type(module).__name__ in MODELS and not self._depth:
            self.add("call", type(module).__name__, [_described(each) for each in inputs])
        self._depth += 1

    def after_module(self, module: nn.Module, inputs: Any, output: Any) -> None:
        """Record what a whole model returned."""
        self._depth -= 1
        if type(module).__name__ in MODELS and not self._depth:
            self.add("return", type(module).__name__, _described(output))

    def profile(self, frame: FrameType, event: str, argument: Any) -> None:
        """Record seeds as they are derived, and the VAE, which is not called as a module."""
        name = frame.f_code.co_qualname
        if name == CHECK:
            self._is_check = event != "return"  # its calls of C functions are events of its frame, too
        elif event == "call" and name == "derived_seed" and not self._is_check:
            path = frame.f_locals["path"]
            if path[0] not in LOADER_SEEDS:
                self.events.append(["seed", frame.f_locals["seed"], *(("session",) if path[0] == "session" else path)])
        elif event == "call" and name == "manual_seed":
            self.events.append(["torch.manual_seed"])
        elif name in VAE_CALLS and event == "call":
            self.add(name, [_described(each) for each in frame.f_locals.values() if isinstance(each, Tensor)])
            self._depth += 1
        elif name in VAE_CALLS and event == "return":
            self._depth -= 1


def _described(value: Any) -> str:
    return f"{value.dtype} {list(value.shape)} {value.requires_grad}" if isinstance(value, Tensor) else type(value).__name__


def phases_of(out: Path) -> list[list[Any]]:
    """Return phase, step and epoch of each line of progress.jsonl but for those of single items, which come by the clock."""
    lines = [json.loads(line) for line in (out / "progress.jsonl").read_text().splitlines()]
    return [[line["phase"], line["step"], line.get("epoch"), "val_loss" in line] for line in lines if "item" not in line]


def main(target: str, argv: list[str]) -> int:
    """Train and write the record; returns the trainer's exit code."""
    sys.path.insert(0, str(ROOT / "sd-scripts"))
    import flux_train_network
    from library.placement import cpu

    cpu.multiplies_bfloat16 = lambda: True  # the record is of a CPU that does
    recorder = Recorder()
    nn.modules.module.register_module_forward_pre_hook(recorder.before_module)
    nn.modules.module.register_module_forward_hook(recorder.after_module, always_call=True)
    sys.setprofile(recorder.profile)
    try:
        with recorder:
            code = flux_train_network.main(argv)
    finally:
        sys.setprofile(None)
    out = Path(argv[argv.index("--output_dir") + 1])
    Path(target).write_text(json.dumps({"events": recorder.events, "phases": phases_of(out)}))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
