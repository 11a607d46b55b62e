"""The tensors of a model by the names of its PyTorch module, independent of file format and stored names.

Finds the files (a single file, shards with an index, or a folder of diffusers or transformers), assembles tensors from stored ones, applies
float8 scales, and fills a module tensor by tensor. The tables of stored names belong to the model families (library/models).
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from fluxgym.contract.codes import ReasonCode
from fluxgym.contract.model_kinds import kind_of, quantized_weights, unwrapped
from fluxgym.contract.regular_files import UnsafeFile, read_regular
from fluxgym.contract.safetensors import MAX_HEADER_BYTES
from library.errors import TrainerError
from library.weights.header import damaged
from library.weights.safetensors_file import WeightFile, assign, fingerprint_of_file, persistent_tensors

FLOAT8 = (torch.float8_e4m3fn, torch.float8_e5m2)
SCALES = ("scale_weight", "weight_scale")  # ComfyUI's older and newer name of a float8 weight's scale
SHARD = re.compile(r"-\d{5}-of-\d{5}\.safetensors$")


@dataclass(frozen=True)
class TensorRecipe:
    """How to assemble a tensor of a model from stored tensors, whose rows are concatenated.

    `qkv_index` (0, 1, 2) then selects a third of the rows, `swap_halves` swaps the two halves of the rows, and `as_conv` reshapes a matrix to a
    1x1 convolution.
    """

    names: tuple[str, ...]
    qkv_index: int | None = None
    swap_halves: bool = False
    as_conv: bool = False

    def assemble(self, parts: Sequence[Tensor]) -> Tensor:
        """Return the tensor, assembled from its stored parts (or its row scales from theirs); an unchanged single part is not copied."""
        tensor = parts[0] if len(parts) == 1 else torch.cat(list(parts))
        if self.qkv_index is not None:
            tensor = tensor.chunk(3)[self.qkv_index]
        if self.swap_halves:
            tensor = torch.cat(tensor.chunk(2)[::-1])
        return tensor[:, :, None, None] if self.as_conv and tensor.dim() == 2 else tensor


StoreTensor = Callable[[nn.Module, str, "ModelFiles"], bool]  # stores one tensor in its own way and returns True, or returns False


class ModelFiles:
    """The tensors of one model, stored in one or more files."""

    def __init__(
        self, path: str | Path, what: str, *, folders: Sequence[str] = (), prefixes: Sequence[str] = (), mapped: bool = True
    ) -> None:
        """Open the model at `path`; error messages call it `what`.

        `folders` are the subfolders of a diffusers pipeline that may contain the model. If tensor names start with one of `prefixes`, only
        these tensors are used, without the prefix. Names of wrapped modules are unwrapped.

        Raises:
            TrainerError (bad_model): Naming what is missing, damaged, or quantized by another program.
        """
        self.path, self.what = Path(path), what
        self._files = [WeightFile(file, what, mapped=mapped) for file in find_files(self.path, what, folders)]
        owners = {unwrapped(name): (file, name) for file in self._files for name in file.names}
        prefix = next((p for p in prefixes if any(name.startswith(p) for name in owners)), "")
        self._owners = {unwrapped(name.removeprefix(prefix)): owner for name, owner in owners.items() if name.startswith(prefix)}
        if quantized := quantized_weights(name for _, name in self._owners.values()):
            raise TrainerError(f"{what} {path} has {quantized}; choose the model in bf16, fp16 or fp8.", reason_code=ReasonCode.BAD_MODEL)
        self._is_scaled = any(name.endswith(SCALES) for name in self._owners)
        self.names: dict[str, TensorRecipe] = {name: TensorRecipe((name,)) for name in self._owners}

    def translate(self, recipes: Mapping[str, TensorRecipe]) -> None:
        """Add tensors by the names of the module; tensors that `recipes` does not name keep their stored names."""
        self.names |= recipes

    def stored_names(self) -> Iterable[str]:
        """Return the names in the files, without the prefix."""
        return self._owners.keys()

    def wrong_model_error(self, expected: str, missing: str) -> TrainerError:
        """Return the error for a model that is not `expected`, because the tensor `missing` is missing."""
        kind = kind_of(name for _, name in self._owners.values())
        instead = f"it is {kind}" if kind and kind != expected else f"it lacks the tensor {missing}"
        return TrainerError(f"{self.what} {self.path} is not {expected}: {instead}.", reason_code=ReasonCode.BAD_MODEL)

    def damaged(self, why: str) -> TrainerError:
        """Return the error for a model that cannot be read."""
        return damaged(self.path, self.what, why)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape without reading it.

        Raises:
            KeyError: For an unknown name.
        """
        recipe = self.names[name]
        shapes = [self._stored_shape(part) for part in recipe.names]
        rows = sum(shape[0] for shape in shapes) if shapes[0] else 0
        rows = rows // 3 if recipe.qkv_index is not None else rows
        shape = (rows, *shapes[0][1:]) if shapes[0] else ()
        return (*shape, 1, 1) if recipe.as_conv and len(shape) == 2 else shape

    def _stored_shape(self, name: str) -> tuple[int, ...]:
        file, stored = self._owners[name]
        return file.shape(stored)

    def raw(self, name: str) -> tuple[Tensor, Tensor | None]:
        """Return a tensor in its stored dtype and, for scaled float8, its row scales (rows, 1) in float32, else None.

        Raises:
            TrainerError: Naming a stored tensor that is missing.
        """
        recipe = self.names[name]
        parts = [self._part(part) for part in recipe.names]
        if len({part.dtype for part, _ in parts}) > 1:  # parts with different dtypes
            parts = [(dequantize(*part, torch.bfloat16), None) for part in parts]
        value = recipe.assemble([part for part, _ in parts])
        if all(scale is None for _, scale in parts):
            return value, None
        return value, recipe.assemble([part.new_ones(1, dtype=torch.float32).expand(len(part), 1) if scale is None else scale
                                          for part, scale in parts])  # fmt: skip

    def _part(self, name: str) -> tuple[Tensor, Tensor | None]:
        if name not in self._owners:
            raise self.damaged(f"the tensor {name} is missing from it")
        file, stored = self._owners[name]
        value = file.tensor(stored)
        owner = name.removesuffix("weight")
        scale_name = next((each for scale in SCALES if (each := owner + scale) in self._owners), None)
        if owner != name and scale_name is None and value.dtype in FLOAT8 and value.dim() == 2 and self._is_scaled:
            raise self.damaged(f"the scale of the tensor {name} is missing from it, though others have theirs")
        if owner == name or scale_name is None or value.dtype not in FLOAT8:
            return value, None
        file, stored = self._owners[scale_name]
        scale = file.tensor(stored).float().reshape(-1, 1)
        if len(scale) not in (1, len(value)):
            raise TrainerError(
                f"{self.what} {self.path}: {scale_name} scales neither the tensor nor its rows.", reason_code=ReasonCode.BAD_MODEL
            )
        return value, scale.expand(len(value), 1)

    def tensor(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        """Return a tensor in `dtype`; None keeps the stored dtype, except that float8 becomes bfloat16."""
        value, scale = self.raw(name)
        return dequantize(value, scale, dtype)

    def release(self, name: str) -> None:
        """Release the memory-mapped pages of the stored tensors of `name`."""
        for part in self.names[name].names:
            file, stored = self._owners[part]
            file.release(stored)

    def load_into(
        self,
        module: nn.Module,
        *,
        dtype: torch.dtype | None,
        device: torch.device | str | Callable[[str], torch.device],
        ignore: Sequence[str] = (),
        store_tensor: StoreTensor | None = None,
    ) -> None:
        """Fill the parameters and buffers of `module`, which may be on the meta device, one tensor at a time.

        `device` may be a function of the name. `ignore` lists names that are skipped. `store_tensor` may store a tensor itself.

        Raises:
            TrainerError: (bad_model) Naming the first tensor that is missing, has another shape, or contains NaN or infinity.
        """
        for name, old in persistent_tensors(module):
            if name in ignore:
                continue
            self._check_shape(name, old)
            if store_tensor is None or not store_tensor(module, name, self):
                value = self._on_device(name, old, dtype, device(name) if callable(device) else device)
                assign(module, name, value)

    def _check_shape(self, name: str, old: Tensor) -> None:
        if name not in self.names:
            raise self.damaged(f"the tensor {name} is missing from it")
        missing = next((part for part in self.names[name].names if part not in self._owners), None)
        if missing is not None:
            raise self.damaged(f"the tensor {missing} is missing from it")
        if old.is_floating_point():
            self.check_float(name)
        if self.shape(name) != tuple(old.shape):
            raise self.damaged(f"the tensor {name} is {list(self.shape(name))}, not {list(old.shape)}")

    def _on_device(self, name: str, old: Tensor, dtype: torch.dtype | None, device: torch.device | str) -> Tensor:
        stored, scale = self.raw(name)
        if not old.is_floating_point():
            return stored.to(device=device)
        value = dequantize(stored.to(device), scale if scale is None else scale.to(device), dtype)
        self.check_finite(name, value)
        if value.device != stored.device or value.untyped_storage().data_ptr() != stored.untyped_storage().data_ptr():
            self.release(name)
        return value

    def check_float(self, name: str) -> None:
        """Raise TrainerError if a tensor is stored in an integer type, as other programs' quantization does."""
        file, stored = self._owners[self.names[name].names[0]]
        if not (dtype := file.dtype(stored)).is_floating_point:
            raise TrainerError(
                f"{self.what} {self.path}: the tensor {name} is stored as {str(dtype).removeprefix('torch.')}, a quantization of "
                "another program; choose the model in bf16 or fp8.",
                reason_code=ReasonCode.BAD_MODEL,
            )

    def check_finite(self, name: str, value: Tensor) -> None:
        """Raise TrainerError if a tensor contains NaN or infinity."""
        if value.numel() and not _is_finite(value):
            raise TrainerError(
                f"{self.what} {self.path}: the tensor {name} contains NaN or infinity; download it again.",
                reason_code=ReasonCode.BAD_MODEL,
            )


def _is_finite(value: Tensor) -> bool:
    if value.dtype in FLOAT8:  # PyTorch has no min() for float8; without the sign bit, NaN and infinity are the largest bytes
        return int((value.view(torch.uint8) & 0x7F).max()) < (0x7F if value.dtype == torch.float8_e4m3fn else 0x7C)
    return all(bool(end.isfinite()) for end in (value.min(), value.max()))


def dequantize(value: Tensor, scale: Tensor | None, dtype: torch.dtype | None) -> Tensor:
    """Return a stored tensor in `dtype`, float8 multiplied by its row scales; None keeps the dtype, but float8 becomes bfloat16."""
    if value.dtype in FLOAT8:
        wide = value.to(dtype or torch.bfloat16)
        return wide if scale is None else wide.mul_(scale.view(-1, *[1] * (wide.dim() - 1)))
    return value if dtype is None else value.to(dtype)


def find_files(path: Path, what: str, folders: Sequence[str] = ()) -> list[Path]:
    """Return the .safetensors files of a model: the file itself, all its shards, or the files in a folder or one of its `folders`.

    Raises:
        TrainerError: Naming the shard, or the folder's file, that is missing.
    """
    if path.is_dir():
        return _files_of_folder(path, what, folders)
    if path.name.endswith(".safetensors.index.json"):
        return _shards(path, what)
    index = path.with_name(SHARD.sub(".safetensors.index.json", path.name))
    return _shards(index, what) if SHARD.search(path.name) and index.is_file() else [path]


def fingerprint(path: str | Path) -> str:
    """Return a content id of a model, computed from its file, its shards, or all .safetensors files in its folder."""
    path = Path(path)
    files = sorted(path.rglob("*.safetensors")) if path.is_dir() else find_files(path, "The model")
    if len(files) == 1:
        return fingerprint_of_file(files[0])
    return hashlib.sha256("".join(f"{file.name} {fingerprint_of_file(file)}\n" for file in files).encode()).hexdigest()


def _files_of_folder(folder: Path, what: str, folders: Sequence[str]) -> list[Path]:
    for directory in [*(folder / name for name in folders if (folder / name).is_dir()), folder]:
        if indices := sorted(directory.glob("*.safetensors.index.json")):
            return _shards(indices[0], what)
        names = ("diffusion_pytorch_model", "model", "*")
        matches = next((files for name in names if (files := sorted(directory.glob(f"{name}.safetensors")))), [])
        if len(matches) == 1:
            return matches
        if matches:
            raise TrainerError(
                f"{what} {directory} contains {len(matches)} .safetensors files without an index; name one.",
                reason_code=ReasonCode.BAD_MODEL,
            )
    raise TrainerError(
        f"{what} {folder} contains no .safetensors file; choose the folder or the file of the model.", reason_code=ReasonCode.BAD_MODEL
    )


def _shards(index: Path, what: str) -> list[Path]:
    try:
        text = read_regular(index, MAX_HEADER_BYTES, follow_links=True).decode("utf-8-sig")
        names = sorted(set(json.loads(text)["weight_map"].values()))
        files = [index.with_name(Path(name).name) for name in names]
    except UnsafeFile as error:
        raise TrainerError(f"{what} {index} cannot be read: {error.reason}.", reason_code=ReasonCode.BAD_MODEL) from None
    except (RecursionError, OSError, ValueError, KeyError, AttributeError, TypeError):
        raise TrainerError(
            f"{what} {index} cannot be read as an index of shards; download it again.", reason_code=ReasonCode.BAD_MODEL
        ) from None
    for file in files:
        if not file.is_file():
            raise TrainerError(
                f"{what} {index} needs the shard {file.name}, which is missing; download it.", reason_code=ReasonCode.BAD_MODEL
            )
    return files
