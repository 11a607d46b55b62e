"""What a base model lacks, and how to get it: which files are published where, their sizes, and if the download requires an account."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from fluxgym.contract.regular_files import read_regular
from fluxgym.errors import Detail, ModelError

HUB = "https://huggingface.co"
TABLE = Path(__file__).with_name("published.yaml")
MAX_TABLE_BYTES = 100_000


@dataclass(frozen=True, kw_only=True)
class Published:
    """The source of a file, as published.yaml describes it."""

    repository: str
    megabytes: float
    gated: bool = False


@dataclass(frozen=True, kw_only=True)
class Tokenizer:
    """A text encoder's tokenizer: its files, and the folders that it may be in, beside the encoder."""

    title: str
    folder: str
    kohya_folder: str
    diffusers_folder: str
    files: tuple[str, ...]
    published: Published

    def find(self, encoder: Path) -> Path | None:
        """Return the tokenizer's folder beside an encoder's file or folder, None if there is none. Diffusers' name counts beside a folder only."""
        names = (self.folder, self.kohya_folder, *([self.diffusers_folder] if encoder.is_dir() else []))
        return next((folder for name in names if (folder := encoder.parent / name).is_dir()), None)


@dataclass(frozen=True, kw_only=True)
class MissingPart:
    """A file or tokenizer that is missing: what it is, the path in the models folder, and its known source."""

    title: str
    where: str
    published: Published | None

    def detail(self) -> Detail:
        """Return the missing part as an entry of the list below an error message."""
        title = f"{self.title[0].upper()}{self.title[1:]}: {self.where}"
        if self.published is None:
            return Detail(text=f"{title}. Size and source are not known.")
        gate = " Log in there and accept its terms first." if self.published.gated else ""
        text = f"{title}, {size_words(self.published.megabytes)}, from {self.published.repository}.{gate}"
        return Detail(text=text, address=f"{HUB}/{self.published.repository}")


@cache
def _table() -> Mapping[str, Any]:
    table: Mapping[str, Any] = yaml.safe_load(read_regular(TABLE, MAX_TABLE_BYTES).decode("utf-8-sig"))
    return table


def published_files() -> dict[str, Published]:
    """Return the sources of files by their path in the models folder."""
    return {path: Published(**entry) for path, entry in _table()["files"].items()}


def tokenizers() -> dict[str, Tokenizer]:
    """Return the tokenizers by the role of their text encoder."""
    return {
        role: Tokenizer(**entry | {"files": tuple(entry["files"]), "published": Published(**entry["published"])})
        for role, entry in _table()["tokenizers"].items()
    }


def missing_file(title: str, where: str) -> MissingPart:
    """Return a missing file of a role, expected at a path in the models folder."""
    return MissingPart(title=title, where=where, published=published_files().get(where))


def missing_tokenizer(tokenizer: Tokenizer, beside: Path) -> MissingPart:
    """Return a missing tokenizer; beside is its text encoder's folder, relative to the models folder if it is in there."""
    where = f"{', '.join(tokenizer.files)} in {(beside / tokenizer.folder).as_posix()}/"
    return MissingPart(title=tokenizer.title, where=where, published=tokenizer.published)


def missing_parts_error(model: str, missing: Sequence[MissingPart], models: Path) -> ModelError:
    """Return the error that lists what a model lacks."""
    titles = [part.title for part in missing]
    named = titles[0] if len(titles) == 1 else f"{', '.join(titles[:-1])} and {titles[-1]}"
    them = "it" if len(titles) == 1 else "them"
    message = f"{model} lacks {named}{_total(missing)}. Put {them} into {models}, or set --models to a folder that has {them}."
    return ModelError(message, field="base_model", details=[part.detail() for part in missing])


def _total(missing: Sequence[MissingPart]) -> str:
    """Return the size of all parts together, "" if a size is unknown or there is only one part."""
    sizes = [part.published.megabytes for part in missing if part.published is not None]
    return f" ({size_words(sum(sizes))})" if 1 < len(sizes) == len(missing) else ""


def size_words(megabytes: float) -> str:
    """Return a size of 10^6 bytes with three digits, such as “23.8 GB”, “335 MB” or “0.8 MB”."""
    return f"{megabytes / 1000:.3g} GB" if megabytes >= 1000 else f"{megabytes:.3g} MB"
