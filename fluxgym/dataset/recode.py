"""Convert captions in another encoding to UTF-8."""

import codecs
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fluxgym.contract.caption_files import CAPTION_EXTENSIONS, control_character, decode_caption
from fluxgym.contract.limits import MAX_CAPTION_BYTES
from fluxgym.contract.regular_files import UnsafeFile, copy_regular, read_regular
from fluxgym.dataset.folder import refusal_of
from fluxgym.dataset.folder_index import scan
from fluxgym.dataset.natural_order import natural_key
from fluxgym.errors import DatasetError
from fluxgym.runs.atomic_files import write_text
from fluxgym.runs.storage_errors import storage_error


@dataclass(frozen=True, kw_only=True)
class Converted:
    """The new texts of converted captions by file name, and the folder that the earlier files are in, None if nothing was converted."""

    texts: dict[str, str]
    kept_in: Path | None


def captions_to_utf8(folder: Path, encoding: str) -> Converted:
    """Convert the captions of a folder that are not UTF-8, after copying them; nothing is written if one cannot be read.

    Raises:
        DatasetError: If the encoding is unknown, or a caption is not in it.
        StorageError: If a file cannot be written.
    """
    try:
        name = codecs.lookup(encoding).name
    except (LookupError, ValueError):
        raise DatasetError(
            f"“{encoding[:40]}” is not an encoding; use cp1252 for Western European Windows, or cp1251, cp932, gbk."
        ) from None
    texts = {}
    for file in sorted(scan(folder), key=natural_key):
        if file.casefold().endswith(CAPTION_EXTENSIONS) and (text := _converted(folder / file, name)) is not None:
            texts[file] = text
    kept_in = _keep(folder, list(texts)) if texts else None
    for file, text in texts.items():
        write_text(folder / file, text + "\n")
    return Converted(texts=texts, kept_in=kept_in)


def _keep(folder: Path, files: list[str]) -> Path:
    """Copy files into a new folder inside their folder, which has no images and is therefore not trained; return it."""
    target = folder / f"captions-before-{datetime.now():%Y%m%d-%H%M%S-%f}"
    try:
        target.mkdir()
        for file in files:
            copy_regular(folder / file, target / file)
    except OSError as error:
        raise storage_error(error, target) from error
    return target


def _converted(path: Path, encoding: str) -> str | None:
    """Return the text of a caption in an encoding, None if it is UTF-8 already."""
    try:
        data = read_regular(path, MAX_CAPTION_BYTES)
    except UnsafeFile as error:
        raise DatasetError(refusal_of(path.name, error.reason)) from None
    except OSError as error:
        raise storage_error(error, path) from error
    try:
        decode_caption(data)
    except UnicodeDecodeError:
        return _decoded(path.name, data, encoding)
    return None


def _decoded(name: str, data: bytes, encoding: str) -> str:
    try:
        text = data.decode(encoding).strip()
    except (UnicodeDecodeError, LookupError):
        raise DatasetError(f"The caption {name} is not in {encoding}; try another encoding. Nothing was changed.") from None
    if control_character(text):
        raise DatasetError(f"The caption {name} would hold control characters as {encoding}; try utf-16. Nothing was changed.")
    return text
