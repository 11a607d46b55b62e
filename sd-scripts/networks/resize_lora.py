"""Reduce the rank of a LoRA by singular value decomposition: `python sd-scripts/networks/resize_lora.py --help`.

Each module keeps its largest singular values, which is the best approximation of that rank. A dynamic method chooses the rank of each module:
the smallest that reaches the target, at most --new_rank.
"""

import sys
from argparse import Namespace
from pathlib import Path

import torch
from torch import Tensor

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])

from library.command_parser import Parser
from library.errors import TrainerError
from library.number_parsing import number
from networks.command_line import check_device, run_command, warn_ineffective_flags
from networks.lora_file import PRECISIONS, LoRAPair, read_lora, write_lora
from networks.lora_keys import KeyForm
from networks.low_rank import ALPHA, DOWN, UP, singular, truncate

METHODS = ("sv_ratio", "sv_fro", "sv_cumulative")
WITHOUT_EFFECT = {"new_conv_rank": "FLUX has no convolutions"}


def build_parser() -> Parser:
    """Return the parser, with kohya's flag names."""
    parser = Parser(description="Reduce the rank of a LoRA by singular value decomposition.")
    parser.add_argument("--model", required=True, help="the LoRA to read; kohya's and diffusers' keys are kept, others become kohya's")
    parser.add_argument("--save_to", required=True, help="the .safetensors file to write")
    parser.add_argument("--new_rank", type=int, default=4, help="the new rank; with a dynamic method, the highest rank (4)")
    parser.add_argument("--new_conv_rank", type=int, help="without effect: FLUX has no convolutions")
    parser.add_argument("--save_precision", choices=["float", "fp16", "bf16"], help="precision of the file (default: float, as in kohya)")
    parser.add_argument("--device", default="cpu", help="where to compute, cpu or cuda")
    parser.add_argument("--verbose", action="store_true", help="print the new rank and the retained norm of each module")
    parser.add_argument("--dynamic_method", choices=METHODS, help="choose each module's rank by its singular values")
    parser.add_argument(
        "--dynamic_param",
        type=number,
        help="the target: sv_ratio keeps values above the largest / target, sv_cumulative this share of their sum, sv_fro of their norm",
    )
    return parser


def resize(args: Namespace) -> str:
    """Resize a LoRA file and return a message.

    Raises:
        TrainerError: For flags that contradict each other.
    """
    _check(args)
    warn_ineffective_flags(args, WITHOUT_EFFECT)
    lora = read_lora(args.model, "--model")
    tensors: dict[str, Tensor] = {}
    ranks: list[int] = []
    for pair in lora.pairs():
        small = _resized(pair, args)
        ranks.append(small.rank)
        alpha = torch.tensor(small.alpha)
        tensors |= {f"{pair.name}.{DOWN}": small.down, f"{pair.name}.{UP}": small.up, f"{pair.name}.{ALPHA}": alpha}
    metadata = lora.metadata | _resize_metadata(args, lora.metadata, max(rank for rank, _ in lora.ranks().values()), tensors)
    write_lora(tensors, args.save_to, metadata, diffusers=lora.form is KeyForm.DIFFUSERS, dtype=PRECISIONS[args.save_precision or "float"])
    return f"saved {args.save_to}: {len(ranks)} modules of rank {min(ranks)} to {max(ranks)}"


def _check(args: Namespace) -> None:
    check_device("--device", args.device)
    if args.new_rank < 1:
        raise TrainerError(f"--new_rank {args.new_rank} must be at least 1.")
    if bool(args.dynamic_method) != (args.dynamic_param is not None):
        raise TrainerError("--dynamic_method and --dynamic_param go together; give both or neither.")
    if args.dynamic_method == "sv_ratio" and args.dynamic_param < 1:
        raise TrainerError(f"--dynamic_param {args.dynamic_param} must be at least 1 for sv_ratio.")
    if args.dynamic_method in ("sv_fro", "sv_cumulative") and not 0 < args.dynamic_param <= 1:
        raise TrainerError(f"--dynamic_param {args.dynamic_param} must be above 0 and at most 1 for {args.dynamic_method}.")


def _resized(pair: LoRAPair, args: Namespace) -> LoRAPair:
    """Return the module with its new rank and the same scale."""
    down, up = pair.down.to(args.device, torch.float32), pair.up.to(args.device, torch.float32)
    values = singular(down, up)[1]
    rank = min(rank_for(values, args.dynamic_method, args.dynamic_param, args.new_rank), len(values))
    if args.verbose:
        retained = (values[:rank].square().sum() / values.square().sum().clamp(min=1e-30)).sqrt()
        print(f"{pair.name}: rank {pair.rank} -> {rank}, {retained:.1%} of the Frobenius norm", flush=True)
    small_down, small_up = truncate(down, up, rank)
    return LoRAPair(pair.name, small_down.cpu(), small_up.cpu(), pair.scale)


def rank_for(values: Tensor, method: str | None, target: float | None, highest: int) -> int:
    """Return the rank for descending singular values: the smallest that reaches the target, at least 1, at most `highest`."""
    if method is None or values[0] == 0:
        return highest if method is None else 1
    assert target is not None  # --dynamic_method requires --dynamic_param
    if method == "sv_ratio":
        rank = int((values > values[0] / target).sum())
    else:
        shares = (values if method == "sv_cumulative" else values.square()).cumsum(0)
        goal = target if method == "sv_cumulative" else target**2
        rank = int((shares < goal * shares[-1]).sum()) + 1
    return max(1, min(rank, highest))


def _resize_metadata(args: Namespace, old: dict[str, str], old_rank: int, tensors: dict[str, Tensor]) -> dict[str, str]:
    """Return kohya's metadata of a resized LoRA."""
    comment = old.get("ss_training_comment", "")
    if args.dynamic_method:
        comment_text = f"Dynamic resize with {args.dynamic_method}: {args.dynamic_param} from {old_rank}; {comment}"
        return {"ss_training_comment": comment_text, "ss_network_dim": "Dynamic", "ss_network_alpha": "Dynamic"}
    alphas = {float(tensor) for name, tensor in tensors.items() if name.endswith(".alpha")}
    return {
        "ss_training_comment": f"dimension is resized from {old_rank} to {args.new_rank}; {comment}",
        "ss_network_dim": str(args.new_rank),
        "ss_network_alpha": str(alphas.pop()) if len(alphas) == 1 else "Dynamic",
    }


if __name__ == "__main__":
    sys.exit(run_command(build_parser(), resize, sys.argv[1:]))
