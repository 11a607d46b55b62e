"""How many tokens of a text T5 reads, and how many tokens captions have, counted by the model's own tokenizer."""

import functools
import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fluxgym.contract.model_kinds import T5_LENGTHS
from fluxgym.contract.regular_files import read_regular
from fluxgym.models.catalog import CAPTION_LENGTH, FoundFiles, caption_tokenizer
from fluxgym.models.identify import identify

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MAX_COUNTED = 100_000
MAX_CONFIG_BYTES = 10_000_000


def token_limit(files: FoundFiles, advanced: Mapping[str, Any]) -> int:
    """Return the number of tokens that T5 reads of a caption: the advanced setting's, else the model's, at most its tokenizer's."""
    limit = int(advanced.get(CAPTION_LENGTH) or T5_LENGTHS[identify(files.transformer).version or "dev"])
    folder = caption_tokenizer(files)
    return limit if folder is None else min(limit, _longest(_FileVersion.of(folder / "tokenizer_config.json")))


def too_long(captions: Mapping[str, str], files: FoundFiles, limit: int) -> dict[str, int]:
    """Return the number of tokens of each caption that is longer than the limit, by image.

    Only captions that can be longer are counted: a token has at least one byte. Without a tokenizer.json, words are counted: each has at
    least one token.
    """
    folder = caption_tokenizer(files)
    tokenizer = None if folder is None else _FileVersion.of(folder / "tokenizer.json")
    lengths = {}
    for name, text in captions.items():
        longest = max(text.splitlines(), key=len, default="")
        if len(longest.encode()) + len(longest.split()) + 1 > limit and (number := _count(tokenizer, longest)) > limit:
            lengths[name] = number
    return lengths


class _FileVersion(NamedTuple):
    """A file and its content: the key of what is computed from it once."""

    path: Path
    mtime_ns: int
    num_bytes: int

    @classmethod
    def of(cls, path: Path) -> "_FileVersion | None":
        """Return the present version of a file, None if there is none, or if it is a named pipe or another path that is not a regular file."""
        try:
            status = path.stat()
        except OSError:
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        return cls(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=MAX_COUNTED)
def _count(file: _FileVersion | None, text: str) -> int:
    """Return the number of tokens of a text, including the end token; counted once per text and version of the tokenizer.json."""
    tokenizer = None if file is None else _tokenizer(file)
    return len(text.split()) + 1 if tokenizer is None else len(tokenizer.encode(text).ids)


@functools.lru_cache(maxsize=4)
def _tokenizer(file: _FileVersion) -> "Tokenizer | None":
    """Return the tokenizer of a tokenizer.json, None if it cannot be read; read once per version of the file."""
    from tokenizers import Tokenizer  # loads slowly, and only long captions need it

    try:
        tokenizer = Tokenizer.from_file(str(file.path))
    except Exception:  # noqa: BLE001 (the library raises nothing narrower)
        return None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


@functools.lru_cache(maxsize=4)
def _longest(file: _FileVersion | None) -> int:
    """Return the number of tokens that a tokenizer_config.json allows, read once per version of the file."""
    try:
        text = read_regular(file.path, MAX_CONFIG_BYTES, follow_links=True).decode("utf-8-sig") if file is not None else "{}"
        value = json.loads(text).get("model_max_length")
    except (OSError, ValueError, AttributeError):
        value = None
    return int(value) if isinstance(value, (int, float)) and value > 0 else max(T5_LENGTHS.values())
