"""Identify a model file or folder by its header: FLUX dev or schnell and its precision, VAE, CLIP-L, T5, LoRA, or damaged.

Standard library only; no tensor is loaded.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from fluxgym.contract.model_kinds import ROLES, any_matches, other_format, other_model, quantized_weights, roles_of
from fluxgym.contract.regular_files import UnsafeFile, open_regular, read_regular
from fluxgym.contract.safetensors import MAX_HEADER_BYTES, HeaderError, TensorEntry, read_header

PRECISIONS = {"BF16": "bf16", "F16": "fp16", "F32": "fp32", "F8_E4M3": "fp8", "F8_E5M2": "fp8 (e5m2)"}
FOLDERS = {"transformer": "transformer", "vae": "ae", "text_encoder": "clip_l", "text_encoder_2": "t5xxl"}
FLUX_WIDTH = 3072
GUIDANCE = r"(^|\.)(guidance_in|time_text_embed\.guidance_embedder)\."  # layers of the dev version only
INPUT = re.compile(r"(^|\.)img_in\.weight$")


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What a file is: a description, the roles it can have, and a problem, the predicate of “The file …”, if it has none.

    version is "dev" or "schnell" for a FLUX.1 transformer, else "".
    """

    words: str
    roles: frozenset[str] = frozenset()
    version: str = ""
    problem: str | None = None

    @property
    def message(self) -> str:
        """Return a message about the file."""
        text = self.problem or f"is {self.words}"
        return f"This {text}."


def identify(path: Path) -> Identity:
    """Return what a path contains; errors become the identity's problem."""
    try:
        if path.is_dir():
            return _of_folder(path)
        stat = path.stat()
        return _of_file(path, stat.st_size, stat.st_mtime_ns)
    except _Problem as problem:
        return Identity(words="unknown", problem=str(problem))
    except OSError as error:
        return Identity(words="unknown", problem=f"file cannot be read: {error.strerror}")


def tensor_names(path: Path) -> frozenset[str]:
    """Return the names of the tensors of a model's file or folder, none if it cannot be read."""
    try:
        return frozenset(name for file in (_files(path) if path.is_dir() else [path]) for name in _tensors(file))
    except (_Problem, OSError):
        return frozenset()


class _Problem(Exception):
    """Why a file cannot be used, as the predicate of a message about it."""


@lru_cache(maxsize=64)
def _of_file(path: Path, _size: int, _mtime_ns: int) -> Identity:
    """Identify a file; cached, because the form calls this after each edit and reading FLUX's header takes 10 ms."""
    return _of_tensors(_tensors(path))


def _of_folder(folder: Path) -> Identity:
    parts = {role: path for name, role in FOLDERS.items() if (path := folder / name).is_dir()}
    if parts:
        identities = {role: identify(path) for role, path in parts.items()}
        broken = next((identity for identity in identities.values() if identity.problem), None)
        if broken is not None:
            return broken
        transformer = identities.get("transformer", Identity(words="a model without a transformer"))
        return Identity(words=f"a diffusers folder of {transformer.words}", roles=frozenset(identities), version=transformer.version)
    return _of_tensors({name: line for file in _files(folder) for name, line in _tensors(file).items()})


def _files(folder: Path) -> list[Path]:
    index = next(iter(sorted(folder.glob("*.safetensors.index.json"))), None)
    if index is None:
        if len(files := sorted(folder.glob("*.safetensors"))) != 1:
            raise _Problem("folder has no .safetensors file" if not files else "folder has several .safetensors files without an index")
        return files
    try:
        text = read_regular(index, MAX_HEADER_BYTES, follow_links=True).decode("utf-8-sig")
        names = sorted(set(json.loads(text)["weight_map"].values()))
        files = [folder / Path(name).name for name in names]
    except UnsafeFile as error:
        raise _Problem(f"file {index.name} cannot be read: {error.reason}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _Problem(f"folder's {index.name} cannot be read; download it again") from None
    lost = next((file.name for file in files if not file.is_file()), None)
    if lost is not None:
        raise _Problem(f"folder lacks the shard {lost}; download it")
    return files


def _tensors(path: Path) -> Mapping[str, TensorEntry]:
    """Return the tensors of a file's header.

    Raises:
        _Problem: If the file is damaged.
    """
    size = path.stat().st_size
    with open_regular(path, follow_links=True) as file:
        head = file.read(512)
    if (other := other_format(head)) is not None:
        raise _Problem(f"file is {other}")
    try:
        header = read_header(path)
    except HeaderError:
        header = None
    if header is None or not header.tensors:
        raise _Problem("file is damaged or not a .safetensors file; download it again")
    if size < header.file_bytes:
        raise _Problem(f"file is cut short: it has {size} of {header.file_bytes} bytes; download it again")
    if size > header.file_bytes:
        raise _Problem(f"file is damaged: it has {size} bytes, but its header says {header.file_bytes}; download it again")
    return header.tensors


def _of_tensors(tensors: Mapping[str, TensorEntry]) -> Identity:
    quantized = quantized_weights(tensors)
    if quantized is not None:
        return Identity(words=quantized, problem=f"file has {quantized}; choose the model in bf16, fp16 or fp8")
    other = other_model(tensors)
    if other is not None:
        return Identity(words=other, problem=f"file is {other}")
    roles = roles_of(tensors)
    if "transformer" in roles:
        whole = "a whole checkpoint of " if len(roles) > 1 else ""
        version = "dev" if any_matches(GUIDANCE, tensors) else "schnell"
        return Identity(words=whole + _transformer(tensors, version), roles=roles, version=version)
    return Identity(words=next((name for role, _, name in ROLES if role in roles), "an unknown model"), roles=roles)


def _transformer(tensors: Mapping[str, TensorEntry], version: str) -> str:
    form = ", diffusers' names" if any_matches(r"(^|\.)x_embedder\.weight$", tensors) else ""
    types = Counter(entry.dtype for name, entry in tensors.items() if "blocks" in name and name.endswith("weight") and len(entry.shape) > 1)
    precision = PRECISIONS.get(types.most_common(1)[0][0], "an unknown precision") if types else "an unknown precision"
    width = next((entry.shape[0] for part, entry in tensors.items() if INPUT.search(part) and entry.shape), FLUX_WIDTH)
    small = "" if width == FLUX_WIDTH else f"a miniature of {width} instead of {FLUX_WIDTH} channels with the layers of "
    return f"{small}FLUX.1 {version} in {precision}{form}"
