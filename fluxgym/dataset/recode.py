"""Convert captions in another encoding to UTF-8."""

import codecs
from pathlib import Path

from fluxgym.contract.caption_files import CAPTION_EXTENSIONS, decode_caption
from fluxgym.contract.limits import MAX_CAPTION_BYTES
from fluxgym.contract.regular_files import UnsafeFile, read_regular
from fluxgym.dataset.folder import refusal_of
from fluxgym.dataset.folder_index import scan
from fluxgym.errors import DatasetError
from fluxgym.runs.files import storage_error, write_text


def captions_to_utf8(folder: Path, encoding: str) -> dict[str, str]:
    """Convert the captions of a folder that are not UTF-8 and return their new texts by file name; nothing is written if one cannot be read.

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
    for file in sorted(scan(folder)):
        if file.casefold().endswith(CAPTION_EXTENSIONS) and (text := _converted(folder / file, name)) is not None:
            texts[file] = text
    for file, text in texts.items():
        write_text(folder / file, text + "\n")
    return texts


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
        try:
            return data.decode(encoding).strip()
        except (UnicodeDecodeError, LookupError):
            raise DatasetError(f"The caption {path.name} is not in {encoding}; try another encoding. Nothing was changed.") from None
    return None
