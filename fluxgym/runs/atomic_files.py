"""Atomic writes, reading of JSON up to a maximum size, and removal of files."""

import json
import secrets
from pathlib import Path
from typing import Any

from fluxgym.contract.regular_files import read_regular
from fluxgym.contract.volumes import sync_file, sync_folder
from fluxgym.errors import StorageError
from fluxgym.runs.storage_errors import raise_if_exhausted, storage_error

MAX_JSON_BYTES = 4 << 20


def write_text(path: Path, text: str) -> None:
    """Replace a file's text atomically and durably.

    Raises:
        StorageError: If it cannot be written.
    """
    tmp_path = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tmp_path.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            sync_file(file.fileno())
        tmp_path.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        remove_file(tmp_path)
        raise storage_error(error, path) from error
    except UnicodeEncodeError:
        remove_file(tmp_path)
        raise StorageError(
            f"The text for {path.name} contains half of a surrogate pair, which is not valid Unicode; type it again."
        ) from None


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file atomically and durably.

    Raises:
        StorageError: If it cannot be written.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate, as edited JSON may contain; escaped it stays unchanged
        text = json.dumps(value, indent=2)
    write_text(path, text + "\n")


def read_json(path: Path, *, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """Return the content of a JSON file, None if it is missing, damaged, larger than max_bytes, or not a regular file.

    Raises:
        NotReadableNow: If that cannot be known.
    """
    try:
        return parse_json(read_regular(path, max_bytes))
    except (OSError, ValueError, RecursionError) as error:
        raise_if_exhausted(error, path)
        return None


def parse_json(data: bytes) -> Any:
    """Return the value of JSON text, with "?" for lone surrogates, which cannot be encoded.

    Raises:
        ValueError: If it is not JSON.
        RecursionError: If it is nested too deeply.
    """
    value = json.loads(data)
    if b"\\u" not in data:
        return value
    return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


def remove_file(path: Path) -> OSError | None:
    """Remove a file if it exists; returns the error if that fails."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        return error
    return None
