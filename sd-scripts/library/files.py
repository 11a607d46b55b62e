"""Atomic writes: a temporary file, fsync, rename, and fsync of the folder."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from fluxgym.contract.codes import ReasonCode
from fluxgym.contract.files import PARTIAL_ENDING
from fluxgym.contract.volumes import DISK_FULL_ERRORS, sync_file, sync_folder
from library.errors import TrainerError

OLD_ENDING = ".old" + PARTIAL_ENDING
OWN = r"(-\d{6,}|-step\d{8,})?(-state)?(\.safetensors)?(\.\d+)?(\.old)?\.partial$"  # kohya's suffixes, then the process id of the writer


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full disk (disk_full) and a path that cannot be written (storage) into a TrainerError that names the file."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL_ERRORS:
            raise disk_full(path) from None
        raise TrainerError(f"{path} cannot be written: {error.strerror}.", reason_code=ReasonCode.STORAGE) from None
    except SafetensorError as error:  # the library wraps the operating system's error in a text
        if any(f"os error {code}" in str(error) for code in DISK_FULL_ERRORS):
            raise disk_full(path) from None
        raise TrainerError(f"{path} cannot be written: {error}.", reason_code=ReasonCode.STORAGE) from None


def disk_full(path: Path | str) -> TrainerError:
    """Return the TrainerError (disk_full) for a file that could not be written."""
    return TrainerError(f"The disk is full: {path} could not be written. Free some space and try again.", reason_code=ReasonCode.DISK_FULL)


def write_json(value: Any, path: Path) -> None:
    """Write and fsync a JSON file; not atomic, for files in a `complete_folder`."""
    with disk_errors(path):
        path.write_text(json.dumps(value, indent=1))
        sync(path)


def sync(path: Path) -> None:
    """Make a file, or the renames in a folder, durable where the volume can."""
    if path.is_dir():
        sync_folder(path)
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        sync_file(handle)
    finally:
        os.close(handle)


def tmp_path_of(path: Path) -> Path:
    """Return the temporary path beside a file that this process writes: several processes may write the same file."""
    return path.with_name(f"{path.name}.{os.getpid()}{PARTIAL_ENDING}")


@contextmanager
def complete_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder next to `path`; it replaces `path` on success and is removed on failure."""
    tmp_path = path.with_name(path.name + PARTIAL_ENDING)
    shutil.rmtree(tmp_path, ignore_errors=True)
    with disk_errors(path):
        tmp_path.mkdir(parents=True)
        try:
            yield tmp_path
            sync(tmp_path)
            replace_folder(tmp_path, path)
        except BaseException:
            shutil.rmtree(tmp_path, ignore_errors=True)
            raise


def replace_folder(new: Path, path: Path) -> None:
    """Rename the folder `new` to `path`, and remove the previous folder afterwards."""
    old = path.with_name(path.name + OLD_ENDING)
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        path.rename(old)
    new.rename(path)
    sync(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def clear_leftovers(folder: Path, name: str) -> None:
    """Remove the temporary files that a killed training left in a folder, and restore a folder whose replacement is missing.

    Only files of the training `name` are changed: `name`, optionally followed by a step or an epoch and by `-state`.
    """
    own = re.compile(re.escape(name) + OWN)
    for old in [path for path in folder.glob(f"*{OLD_ENDING}") if own.match(path.name)]:
        target = old.with_name(old.name.removesuffix(OLD_ENDING))
        if not target.exists():
            old.rename(target)
    for leftover in [path for path in folder.glob(f"*{PARTIAL_ENDING}") if own.match(path.name)]:
        remove(leftover)


def remove(path: Path) -> None:
    """Remove a file or a folder with its contents, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
