"""Signatures of launch.json, by which this installation recognizes what it wrote itself.

The key is in the user's configuration folder, never in outputs/: a folder that was copied, downloaded or shared cannot contain a signature.
"""

import hashlib
import hmac
import json
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fluxgym.errors import StorageError
from fluxgym.runs.locks import create_private_folder, local_locks

SIGNATURE = "signature"
KEY_FILE = "launch.key"
KEY_BYTES = 32


def config_folder() -> Path:
    """Return the user's configuration folder of FluxGym: in XDG_CONFIG_HOME, else in ~/.config.

    Raises:
        RuntimeError: Without a home.
    """
    base = os.environ.get("XDG_CONFIG_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".config") / "fluxgym"


def signed(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object with its signature.

    Raises:
        StorageError: If no key can be kept.
    """
    return {**value, SIGNATURE: _digest(value, _create_key())}


def is_signed(value: Any) -> bool:
    """Return True if this installation signed a JSON object and nothing in it has changed since."""
    key = _read_key()
    if key is None or not isinstance(value, Mapping) or not isinstance(value.get(SIGNATURE), str):
        return False
    return hmac.compare_digest(value[SIGNATURE].encode("utf-8", "replace"), _digest(value, key).encode())


def _digest(value: Mapping[str, Any], key: bytes) -> str:
    unsigned = {name: item for name, item in value.items() if name != SIGNATURE}
    text = json.dumps(unsigned, sort_keys=True, ensure_ascii=False).encode("utf-8", "replace")  # as parse_json reads lone surrogates
    return hmac.new(key, text, hashlib.sha256).hexdigest()


def _folders() -> list[Path]:
    """Return where the key can be: the configuration folder, or without a home that can be written, the folder of this machine's locks."""
    try:
        return [config_folder(), local_locks()]
    except RuntimeError:
        return [local_locks()]


def _read_key() -> bytes | None:
    keys = (_key_in(folder) for folder in _folders())
    return next((key for key in keys if key is not None), None)


def _key_in(folder: Path) -> bytes | None:
    """Return a folder's key, None if there is none or another user could have written it."""
    try:
        handle = os.open(folder / KEY_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(file.fileno())
        is_own = stat.S_ISREG(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o022
        key = file.read(KEY_BYTES + 1) if is_own else b""
    return key if len(key) == KEY_BYTES else None


def _create_key() -> bytes:
    """Return the key, created in the first folder that can hold one."""
    if (key := _read_key()) is not None:
        return key
    problem: OSError | None = None
    for folder in _folders():
        try:
            _write_key(folder)
        except OSError as error:
            problem = problem or error
        if (key := _key_in(folder)) is not None:
            return key
    where = " or ".join(str(folder) for folder in _folders())
    raise StorageError(
        f"No key can be kept in {where} ({problem.strerror if problem else 'the file there is damaged'}), so no training can be started; set "
        "XDG_CONFIG_HOME to a folder of your own that can be written."
    )


def _write_key(folder: Path) -> None:
    """Write a new key atomically. If another process writes one at the same time, the first key is used."""
    create_private_folder(folder)
    tmp_path = folder / f".{KEY_FILE}.{secrets.token_hex(4)}.tmp"
    handle = os.open(tmp_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
        _give_name(tmp_path, folder / KEY_FILE)
    finally:
        tmp_path.unlink(missing_ok=True)


def _give_name(tmp_path: Path, path: Path) -> None:
    """Link a complete file to its name, unless the name exists."""
    try:
        path.hardlink_to(tmp_path)
    except FileExistsError:
        return
    except OSError:  # a file system without hard links
        if not path.exists():
            tmp_path.rename(path)
