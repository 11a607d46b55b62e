"""Conversion of a LoRA's tensors between kohya's keys (`lora_unet_….lora_down.weight`) and diffusers' (`transformer.….lora_A.weight`).

Other programs' keys are read too: those of BFL's layers with or without a prefix (ComfyUI), OneTrainer's, SimpleTuner's, and PEFT's wrappers.
FLUX concatenates queries, keys and values in one matrix; diffusers uses three. One LoRA of the whole matrix becomes three that share its down
factor; a block-diagonal LoRA becomes its blocks. Converting there and back gives identical tensors. Scales are stored as alpha; if each alpha
equals its rank, diffusers' format omits them, as PEFT does. The layer names are in models/flux1/layer_names.py.
"""

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum

import torch
from torch import Tensor

from fluxgym.contract.codes import ReasonCode
from fluxgym.contract.model_kinds import unwrapped
from library.errors import TrainerError
from library.models.flux1.layer_names import LAYER_NAMES
from library.models.layer_names import Layer, LayerNames
from networks.low_rank import ALPHA, DOWN, UP, fuse, split

LEAVES = {DOWN: "lora_A.weight", UP: "lora_B.weight", ALPHA: ALPHA}  # kohya's and diffusers'
# What programs append to a layer's name; PEFT puts the name of the adapter between lora_A and weight.
DOWN_OR_UP = re.compile(
    r"(.+?)(?:\.lora_(?P<kohya>down|up)(?:\.\w+)?\.weight|\.lora_(?P<peft>[AB])(?:(?:\.\w+)?\.weight)?"
    r"|(?:\.|_)lora\.(?P<diffusers>down|up)\.weight|\.lora_linear_layer\.(?P<old>down|up)\.weight)"
)
FACTORS = {"down": DOWN, "A": DOWN, "up": UP, "B": UP}


class KeyForm(StrEnum):
    """The format of the keys in a LoRA file, by the program that writes it."""

    KOHYA = "kohya"
    DIFFUSERS = "diffusers"
    COMFYUI = "ComfyUI"
    ONETRAINER = "OneTrainer"
    SIMPLETUNER = "SimpleTuner"


FLAT_FORMS = {"lora_": KeyForm.ONETRAINER, "lycoris_": KeyForm.SIMPLETUNER}  # of names with underscores for dots, besides kohya's

Module = dict[str, Tensor]  # by kohya's names: DOWN, UP, and optionally ALPHA


def form_of(keys: Iterable[str], names: LayerNames = LAYER_NAMES) -> KeyForm:
    """Return the format of these keys: kohya's if no key has another format. Keys that do not belong to a LoRA are ignored."""
    forms = (_form_of_owner(owner, names) for owner, _ in map(_split, keys) if owner)
    return next((form for form in forms if form is not KeyForm.KOHYA), KeyForm.KOHYA)


def _form_of_owner(owner: str, names: LayerNames) -> KeyForm:
    if names.prefix_of(owner):
        return KeyForm.KOHYA
    if form := next((form for start, form in FLAT_FORMS.items() if owner.startswith(start)), None):
        return form
    module = names.kohya_module(owner)
    return KeyForm.COMFYUI if module and module[1] is None else KeyForm.DIFFUSERS


def prefixes_of(keys: Iterable[str], names: LayerNames = LAYER_NAMES) -> set[str]:
    """Return kohya's prefixes of the models that the layers of these keys belong to; unknown keys are ignored."""
    modules = (names.kohya_module(owner) for owner, _ in map(_split, keys) if owner)
    return {prefix for each in modules if each and (prefix := names.prefix_of(each[0]))}


def check_layers(tensors: Iterable[str], names: LayerNames = LAYER_NAMES) -> None:
    """Raise TrainerError if a key is not kohya's key of a layer of FLUX, so that no file is written with keys of two forms."""
    for key in tensors:
        owner, _ = _split_key(key)
        module = names.kohya_module(owner)
        if module is None or module[0] != owner:
            raise _unknown_layer(key)


def to_diffusers(tensors: Mapping[str, Tensor], names: LayerNames = LAYER_NAMES) -> dict[str, Tensor]:
    """Convert tensors from kohya's to diffusers' (PEFT's) keys, which ComfyUI reads too.

    Raises:
        TrainerError: If a module has no name in diffusers' format.
    """
    modules: dict[str, Module] = {}
    for name, module in by_module(tensors).items():
        modules |= _split_module(name, module, names)
    if all(_alpha(module) == _rank(module) for module in modules.values()):
        modules = {name: {leaf: tensor for leaf, tensor in module.items() if leaf != ALPHA} for name, module in modules.items()}
    return {f"{name}.{LEAVES[leaf]}": tensor.contiguous() for name, module in modules.items() for leaf, tensor in module.items()}


def to_kohya(tensors: Mapping[str, Tensor], names: LayerNames = LAYER_NAMES) -> dict[str, Tensor]:
    """Convert tensors from any known form to kohya's keys; kohya's own are returned as they are.

    Raises:
        TrainerError: If a tensor has no name in kohya's format, or a layer has tensors under two names.
    """
    parts: dict[str, dict[int | None, Module]] = {}
    as_they_are = set()
    for key, tensor in tensors.items():
        owner, leaf = _split_key(key)
        if (found := names.kohya_module(owner)) is None:
            raise _unknown_layer(key)
        name, index = found
        if owner == name:
            as_they_are.add(name)
        module = parts.setdefault(name, {}).setdefault(index, {})
        if leaf in module or (None in parts[name] and len(parts[name]) > 1):
            raise TrainerError(f"The layer {name} has tensors under two names, one of them {key}.", reason_code=ReasonCode.BAD_MODEL)
        module[leaf] = tensor
    modules = {
        name: next(iter(found.values())) if name in as_they_are else _join_modules(name, found, names) for name, found in parts.items()
    }
    return {f"{name}.{leaf}": tensor.contiguous() for name, module in modules.items() for leaf, tensor in module.items()}


def by_module(tensors: Mapping[str, Tensor]) -> dict[str, Module]:
    """Group tensors with kohya's keys by module name.

    Raises:
        TrainerError: If a key does not belong to a LoRA, or a module lacks a factor.
    """
    modules: dict[str, Module] = {}
    for key, tensor in tensors.items():
        owner, leaf = _split_key(key)
        modules.setdefault(owner, {})[leaf] = tensor
    for name, module in modules.items():
        if missing := {DOWN, UP} - set(module):
            raise TrainerError(f"The LoRA is incomplete: {name} lacks its {min(missing)}.", reason_code=ReasonCode.BAD_MODEL)
        down, up, alpha = module[DOWN], module[UP], module.get(ALPHA)
        if down.dim() != 2 or up.dim() != 2 or up.shape[1] != down.shape[0] or (alpha is not None and alpha.numel() != 1):
            raise TrainerError(f"The LoRA is damaged: the shapes of {name} do not fit each other.", reason_code=ReasonCode.BAD_MODEL)
    return modules


def _split(key: str) -> tuple[str, str]:
    """Return the layer's name, without wrappers, and kohya's name of the leaf; the name is empty for a key of no LoRA."""
    key = unwrapped(key)
    if key.endswith(f".{ALPHA}"):
        return key.removesuffix(f".{ALPHA}"), ALPHA
    match = DOWN_OR_UP.fullmatch(key)
    return (match[1], FACTORS[next(filter(None, match.groups()[1:]))]) if match else ("", "")


def _split_key(key: str) -> tuple[str, str]:
    owner, leaf = _split(key)
    if not owner:
        raise TrainerError(f"The tensor {key} is not part of a LoRA.", reason_code=ReasonCode.BAD_MODEL)
    return owner, leaf


def _unknown_layer(key: str) -> TrainerError:
    return TrainerError(f"The tensor {key} belongs to no layer of FLUX.", reason_code=ReasonCode.BAD_MODEL)


def _split_module(name: str, module: Module, names: LayerNames) -> dict[str, Module]:
    """Return a kohya module as one or several diffusers modules."""
    owners = names.diffusers_modules(name)
    if not owners:
        raise TrainerError(f"Diffusers' form has no name for {name}: it is not a layer of FLUX.", reason_code=ReasonCode.BAD_MODEL)
    layer = names.layer_at(name)
    if layer is None or len(owners) == 1:
        return {owners[0]: _swap_halves(layer, module)}
    down, up, alpha = module[DOWN], module[UP], module.get(ALPHA)
    rows = layer.part_rows(down.shape[1], up.shape[0])
    try:
        pairs = split(down, up, rows)
        alpha = None if alpha is None else _exactly(alpha.float() / len(owners), alpha.dtype)
    except ValueError:
        pairs = [(down, part) for part in up.split(rows)]
    return {
        owner: {DOWN: part_down.clone(), UP: part_up, **({} if alpha is None else {ALPHA: alpha.clone()})}
        for owner, (part_down, part_up) in zip(owners, pairs, strict=True)
    }


def _join_modules(name: str, parts: Mapping[int | None, Module], names: LayerNames) -> Module:
    """Return the parts of one kohya module as that module; a missing part adds nothing."""
    for module in parts.values():
        by_module({f"{name}.{leaf}": tensor for leaf, tensor in module.items()})  # raises for an incomplete module
    first, layer = next(iter(parts.values())), names.layer_at(name)
    if None in parts:  # the whole layer, in its own order of rows
        return first | {ALPHA: _exactly(torch.tensor(_alpha(first)), first[DOWN].dtype)}
    if layer is None or len(layer.parts) == 1:
        return _swap_halves(layer, first | {ALPHA: _exactly(torch.tensor(_alpha(first)), first[DOWN].dtype)})
    rows = layer.part_rows(first[DOWN].shape[1])
    modules = [parts.get(index) or _empty_module(part_rows, first) for index, part_rows in enumerate(rows)]
    pairs = [(module[DOWN], module[UP]) for module in modules]
    downs, alphas = [down for down, _ in pairs], [_alpha(module) for module in modules]
    if all(torch.equal(down, downs[0]) for down in downs) and len(set(alphas)) == 1:
        down, up, alpha = downs[0], torch.cat([up for _, up in pairs]), alphas[0]
    else:
        scales = [each / _rank(module) if _rank(module) else None for each, module in zip(alphas, modules, strict=True)]
        if (
            len({scale for scale in scales if scale is not None}) > 1
        ):  # one alpha cannot express different scales: multiply them into the up factors
            pairs = [(down, up * (scale or 1)) for (down, up), scale in zip(pairs, scales, strict=True)]
            alphas = [down.shape[0] for down, _ in pairs]
        (down, up), alpha = fuse(pairs), float(sum(alphas))
    return {DOWN: down, UP: up, ALPHA: _exactly(torch.tensor(alpha), down.dtype)}


def _empty_module(rows: int, like: Module) -> Module:
    """Return a module of rank 0 with `rows` output rows."""
    width, dtype = like[DOWN].shape[1], like[DOWN].dtype
    return {
        DOWN: torch.zeros(0, width, dtype=dtype),
        UP: torch.zeros(rows, 0, dtype=dtype),
        ALPHA: torch.tensor(0.0),
    }


def _swap_halves(layer: Layer | None, module: Module) -> Module:
    if layer is None or not layer.swap_halves:
        return module
    return module | {UP: torch.cat(module[UP].chunk(2)[::-1])}


def _rank(module: Module) -> int:
    return module[DOWN].shape[0]


def _alpha(module: Module) -> float:
    return float(module[ALPHA]) if ALPHA in module else float(_rank(module))


def _exactly(value: Tensor, dtype: torch.dtype) -> Tensor:
    """Return `value` in `dtype` if the conversion is exact, else in float32."""
    cast = value.to(dtype)
    return cast if cast.float() == value.float() else value.float()
