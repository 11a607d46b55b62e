"""Merge LoRAs into FLUX, CLIP-L and T5, or into one LoRA: `python sd-scripts/networks/flux_merge_lora.py --help`.

A model is copied tensor by tensor; tensors without a LoRA module stay byte-identical. Several LoRAs are merged into one whose effect is their
sum: exactly with --concat, else the best approximation with the highest of their ranks. (kohya adds the factors of the LoRAs instead, which
also multiplies the up of one LoRA by the down of another.)
"""

import sys
from argparse import Namespace
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])

import library  # noqa: F401, makes fluxgym.contract importable
from fluxgym.contract.codes import ReasonCode
from fluxgym.contract.model_kinds import quantized_weights, unwrapped
from library.command_parser import Parser
from library.errors import TrainerError
from library.models.flux1.family import SPECS
from library.models.flux1.layer_names import CLIP_PREFIX, FILE_PREFIXES, FLUX_PREFIX, T5_PREFIX
from library.models.layer_names import kohya_name
from library.number_parsing import number
from library.weights.model_files import SCALES
from library.weights.safetensors_file import WeightFile
from library.weights.stream_copy import Change, copy_with_changes, floating
from networks.command_line import check_device, output_path, run_command, warn_ineffective_flags
from networks.lora_file import PRECISIONS, LoRAFile, LoRAPair, read_lora, write_lora
from networks.lora_merge import prefix_of
from networks.low_rank import ALPHA, DOWN, UP, truncate

TARGETS = {"flux_model": (FLUX_PREFIX, "save_to"), "clip_l": (CLIP_PREFIX, "clip_l_save_to"), "t5xxl": (T5_PREFIX, "t5xxl_save_to")}
WITHOUT_EFFECT = {
    "mem_eff_load_save": "one tensor is held in memory at a time in any case",
    "diffusers": "diffusers' keys are recognized",
    "shuffle": "the order of a LoRA's ranks changes nothing",
}
PairsByModule = dict[str, list[tuple[LoRAPair, float]]]  # by module name: the pairs to add and their ratios


def build_parser() -> Parser:
    """Return the parser, with kohya's flag names."""
    parser = Parser(description="Merge LoRAs into FLUX, CLIP-L and T5, or (without these) into one LoRA.")
    parser.add_argument("--models", nargs="+", required=True, help="the LoRAs, with kohya's or diffusers' keys")
    parser.add_argument("--ratios", nargs="+", type=number, required=True, help="the strength of each LoRA")
    for name, (_, target) in TARGETS.items():
        parser.add_argument(f"--{name}", help="a .safetensors file to merge into")
        parser.add_argument(f"--{target}", help="the .safetensors file to write")
    parser.add_argument("--precision", default="float", choices=list(PRECISIONS)[:4], help="precision to compute in (float)")
    parser.add_argument(
        "--save_precision",
        choices=list(PRECISIONS),
        help="precision of changed tensors (default: the model's own; for a LoRA, --precision)",
    )
    parser.add_argument("--working_device", "--loading_device", default="cpu", help="where to compute, cpu or cuda")
    parser.add_argument("--concat", action="store_true", help="merge into one LoRA: keep all ranks, which is exact")
    parser.add_argument("--no_metadata", action="store_true", help="do not write modelspec metadata")
    for name, reason in WITHOUT_EFFECT.items():
        parser.add_argument(f"--{name}", action="store_true", help=f"without effect: {reason}")
    return parser


def merge(args: Namespace) -> str:
    """Merge the files and return a message.

    Raises:
        TrainerError: If flags contradict each other or modules do not fit.
    """
    warn_ineffective_flags(args, WITHOUT_EFFECT)
    check_device("--working_device", args.working_device)
    if len(args.models) != len(args.ratios):
        raise TrainerError(f"--models are {len(args.models)}, --ratios {len(args.ratios)}; give one ratio for each.")
    for name, (_, target) in TARGETS.items():
        if getattr(args, name) and not getattr(args, target):
            raise TrainerError(f"--{name} is merged into a new file: give --{target}.")
    loras = [read_lora(path, "--models") for path in args.models]
    parts: PairsByModule = {}
    for lora, ratio in zip(loras, args.ratios, strict=True):
        for pair in lora.pairs():
            parts.setdefault(pair.name, []).append((pair, ratio))
    given = [name for name in TARGETS if getattr(args, name)]
    return _into_models(args, given, parts) if given else _into_one(args, loras, parts)


def _into_models(args: Namespace, given: Iterable[str], parts: PairsByModule) -> str:
    lines = []
    for name in given:
        prefix, target = TARGETS[name]
        own = {module: pairs for module, pairs in parts.items() if prefix_of(module) == prefix}
        lines.append(_into_model(args, getattr(args, name), prefix, output_path(getattr(args, target)), own))
    unused = [module for module in parts if prefix_of(module) not in [TARGETS[name][0] for name in given]]
    if unused:
        lines.append(f"{len(unused)} modules belong to a model that was not given, such as {unused[0]}")
    return "\n".join(lines)


def _into_model(args: Namespace, path: str, prefix: str, target: Path, parts: PairsByModule) -> str:
    """Write one model with its modules merged, and return a message."""
    file = WeightFile(path, f"--{next(name for name, (each, _) in TARGETS.items() if each == prefix)}")
    if scaled := next((name for name in file.names if any(scale in name for scale in SCALES)), None):
        raise TrainerError(f"{path} contains quantized weights with scales ({scaled}); merge into the file that they were made from.")
    if quantized := quantized_weights(file.names):
        raise TrainerError(f"{path} has {quantized}; merge into the file that they were made from.", reason_code=ReasonCode.BAD_MODEL)
    keys = {_module_of(key, prefix): key for key in file.names if key.endswith(".weight")}
    dtype = PRECISIONS[args.save_precision] if args.save_precision else None
    changes = {}
    for module, pairs in parts.items():
        key = keys.get(module)
        if key is None or any(file.shape(key) != (pair.up.shape[0], pair.down.shape[1]) for pair, _ in pairs):
            raise TrainerError(f"{path} has no layer for {module}: the LoRA was made for another model.", reason_code=ReasonCode.BAD_MODEL)
        changes[key] = Change(partial(_merged, pairs, args), dtype)
    if dtype is not None:
        changes |= {key: Change(lambda tensor: tensor, dtype) for key in floating(Path(path)) - set(changes)}
    kind = SPECS["dev" if any("guidance_in." in key for key in file.names) else "schnell"].architecture
    writes_modelspec = prefix == FLUX_PREFIX and not args.no_metadata
    copy_with_changes(
        Path(path), target, changes, file.metadata | (_modelspec(target, kind, [path, *args.models]) if writes_modelspec else {})
    )
    return f"saved {target}: {len(parts)} weights changed"


def _module_of(key: str, prefix: str) -> str:
    key = unwrapped(key)
    wrapper = next((each for each in FILE_PREFIXES[prefix] if key.startswith(each)), "")
    return kohya_name(prefix, unwrapped(key.removeprefix(wrapper)).removesuffix(".weight"))


def _merged(pairs: Iterable[tuple[LoRAPair, float]], args: Namespace, weight: Tensor) -> Tensor:
    options = {"device": args.working_device, "dtype": PRECISIONS[args.precision]}
    weight = weight.to(**options)
    for pair, ratio in pairs:
        weight = weight.addmm(pair.up.to(**options), pair.down.to(**options), alpha=pair.scale * ratio)
    if not weight.isfinite().all():
        raise TrainerError("The merged weights contain NaN or infinity; the model is damaged, or a ratio too large.")
    return weight


def _into_one(args: Namespace, loras: list[LoRAFile], parts: PairsByModule) -> str:
    if not args.save_to:
        raise TrainerError("--save_to is missing; name the file to write.")
    tensors: dict[str, Tensor] = {}
    ranks = set()
    for module, pairs in parts.items():
        down, up = sum_of(pairs, exact=args.concat, device=args.working_device)
        ranks.add(len(down))
        tensors |= {f"{module}.{DOWN}": down, f"{module}.{UP}": up, f"{module}.{ALPHA}": torch.tensor(float(len(down)))}
    kind = _first(loras, "modelspec.architecture", SPECS["dev"].lora_architecture)
    metadata = _network_metadata(loras, ranks) | ({} if args.no_metadata else _modelspec(Path(args.save_to), kind, args.models))
    write_lora(tensors, args.save_to, metadata, diffusers=False, dtype=PRECISIONS[args.save_precision or args.precision])
    return f"saved {args.save_to}: {len(parts)} modules of rank {min(ranks)} to {max(ranks)}"


def sum_of(pairs: Iterable[tuple[LoRAPair, float]], *, exact: bool, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """Return float32 factors (down, up) of the ratio-weighted sum of the pairs' weight changes.

    If `exact`, the rank is the sum of the ranks; otherwise it is the highest of the ranks, and the result is the best approximation.
    """
    pairs = list(pairs)
    down = torch.cat([pair.down.float() for pair, _ in pairs]).to(device)
    up = torch.cat([pair.up.float() * (pair.scale * ratio) for pair, ratio in pairs], dim=1).to(device)
    if not exact and len(pairs) > 1:
        down, up = truncate(down, up, max(pair.rank for pair, _ in pairs))
    return down.cpu(), up.cpu()


def _first(loras: list[LoRAFile], key: str, otherwise: str) -> str:
    return next((lora.metadata[key] for lora in loras if key in lora.metadata), otherwise)


def _network_metadata(loras: list[LoRAFile], ranks: set[int]) -> dict[str, str]:
    rank = str(min(ranks)) if len(ranks) == 1 else "Dynamic"
    version = _first(loras, "ss_base_model_version", SPECS["dev"].base_model_version)
    return {
        "ss_v2": "False", "ss_base_model_version": version, "ss_network_module": "networks.lora_flux", "ss_network_dim": rank,
        "ss_network_alpha": rank,
    }  # fmt: skip


def _modelspec(target: Path, architecture: str, sources: Iterable[str]) -> dict[str, str]:
    return {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": architecture,
        "modelspec.implementation": SPECS["dev"].implementation,
        "modelspec.title": target.stem,
        "modelspec.date": datetime.now(UTC).isoformat("T", "seconds"),
        "modelspec.merged_from": ", ".join(Path(source).stem for source in sources),
    }


if __name__ == "__main__":
    sys.exit(run_command(build_parser(), merge, sys.argv[1:]))
