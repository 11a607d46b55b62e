"""kohya's metadata file (--in_json, metadata_file): pictures with captions and tags in one .json or .jsonl, as its preparing tools write it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from library.data.captions import lines_of
from library.data.dataset_config import Subset
from library.data.pictures import EXTENSIONS
from library.errors import TrainerError


def read_metadata_file(subset: Subset) -> list[tuple[Path, str]]:
    """Return a file's pictures and their captions, tags behind them, in the order of their names.

    Raises TrainerError naming the file and the entry for what is no JSON, no text, or names a picture that is not there. Sizes that the
    file tells are not trusted.
    """
    source = Path(subset.metadata_file)
    try:
        entries = list(_entries(source))
    except ValueError as error:  # JSON's and UTF-8's errors
        raise TrainerError(f"the metadata_file {source} is not valid JSON: {error}.") from None
    except OSError as error:
        raise TrainerError(f"the metadata_file {source} cannot be read: {error.strerror}.") from None
    found = [(_picture(name, subset), _caption(name, entry, subset)) for name, entry in entries]
    return sorted(found, key=lambda pair: pair[0])


def _entries(source: Path) -> Iterator[tuple[str, Any]]:
    text = source.read_text(encoding="utf-8")
    if source.suffix.lower() == ".jsonl":
        for number, line in enumerate(text.splitlines(), 1):
            entry = json.loads(line) if line.strip() else None
            if entry is None:
                continue
            if not isinstance(entry, dict) or not isinstance(entry.get("image_path"), str):
                raise TrainerError(f"the metadata_file {source}, line {number}, has no image_path.")
            yield entry["image_path"], entry
        return
    table = json.loads(text)
    if not isinstance(table, dict):
        raise TrainerError(f"the metadata_file {source} is no table of pictures.")
    yield from table.items()


def _picture(name: str, subset: Subset) -> Path:
    """Find the picture of an entry: an absolute path, or one below image_dir; old files leave its ending out."""
    if not (Path(name).is_absolute() or subset.image_dir):
        raise TrainerError(f"the metadata_file {subset.metadata_file}: {name} is no full path, so image_dir (--train_data_dir) is needed.")
    path = Path(subset.image_dir, name)
    if path.is_file():
        return path
    for ending in EXTENSIONS:
        if (whole := path.with_name(path.name + ending)).is_file():
            return whole
    raise TrainerError(f"the metadata_file {subset.metadata_file} names {path}, which is missing.")


def _caption(name: str, entry: Any, subset: Subset) -> str:
    if not isinstance(entry, dict):
        raise TrainerError(f"the metadata_file {subset.metadata_file}: {name} is no table of caption and tags.")
    caption, tags = entry.get("caption") or "", entry.get("tags") or ""
    if not isinstance(caption, str) or not isinstance(tags, str):
        raise TrainerError(f"the metadata_file {subset.metadata_file}: caption and tags of {name} must be texts.")
    tags = tags.replace("\n", subset.caption_separator)
    lines = lines_of(caption, subset).split("\n")
    return "\n".join(subset.caption_separator.join(part for part in (line, tags) if part) for line in lines)
