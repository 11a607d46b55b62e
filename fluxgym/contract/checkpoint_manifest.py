"""The records inside checkpoints: the manifest of FluxGym's trainer, and the position that FluxGym writes into kohya's states."""

import hashlib
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from fluxgym.contract.files import CHECKPOINT_FILES
from fluxgym.contract.progress import NUMBER_LIMIT, is_number
from fluxgym.contract.regular_files import open_regular

# Keys of kohya's train_state.json. Both counts start again at every resume.
KOHYA_STEP = "current_step"
KOHYA_EPOCH = "current_epoch"


@dataclass(frozen=True, kw_only=True)
class FileDigest:
    """Size in bytes and SHA-256 (hex) of one file."""

    sha256: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """manifest.json, written last. step counts over all attempts, epoch is the number of finished epochs, files are all other files."""

    files: dict[str, FileDigest]
    step: int
    epoch: int
    total_steps: int
    run_id: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the content of the file."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> "Manifest":
        """Parse the content of the file.

        Raises:
            ValueError: If it is not a manifest.
        """
        try:
            files = {
                _file_name(name): FileDigest(sha256=str(item["sha256"]), bytes=_count(item["bytes"]))
                for name, item in value["files"].items()
            }
            step, epoch, total_steps = (_count(value[name]) for name in ("step", "epoch", "total_steps"))
            return cls(files=files, step=step, epoch=epoch, total_steps=total_steps, run_id=str(value.get("run_id", "")))
        except (KeyError, TypeError, AttributeError, ValueError):
            raise ValueError("it is not a manifest") from None


def _file_name(value: Any) -> str:
    """Return the name of a file in the folder.

    Raises:
        ValueError: For a path that leads out of the folder.
    """
    if not isinstance(value, str) or value in ("", ".", "..") or not set(value).isdisjoint("/\\\0"):
        raise ValueError("it is not a file's name")
    return value


def _count(value: Any) -> int:
    if not is_count(value):
        raise ValueError("it is not a count")
    return int(value)


def is_count(value: Any) -> bool:
    """Return True for a whole number from 0 to the limit of exact numbers in JSON."""
    return type(value) is int and 0 <= value < NUMBER_LIMIT


COUNTS = ("step", "epoch", "batch_in_epoch", "total_steps")
OBJECTS = ("fixed", "settings", "begun_by")
SHARED = ("step", "epoch", "total_steps")  # in the manifest too


def find_state_fault(value: Any, manifest: Manifest) -> str:
    """Return what is wrong with the values in a train_state.json, as the predicate of a message about the file, "" if nothing is."""
    if not isinstance(value, dict):
        return "holds no values"
    for name in COUNTS:
        if not is_count(value.get(name)):
            return f"has the {name} {short(value.get(name))}, which is not a count"
    for name in SHARED:
        if value[name] != getattr(manifest, name):
            return f"has the {name} {value[name]}, and the manifest has {getattr(manifest, name)}"
    if type(value.get("seed")) is not int:
        return f"has the seed {short(value.get('seed'))}, which is not a whole number"
    for name in OBJECTS:
        if not isinstance(value.get(name, {}), dict):
            return f"has {name} that are not a table"
    losses = value.get("losses", [])
    if not isinstance(losses, list) or not all(is_number(loss) for loss in losses):
        return "has losses that are not a list of numbers"
    return "" if isinstance(value.get("log_folder", ""), str) else "has a log_folder that is not a text"


def short(value: Any) -> str:
    """Return a value for a message, truncated to 40 characters."""
    return repr(value)[:40]


class FileFault(StrEnum):
    """What is wrong with a file of a checkpoint."""

    MISSING = "missing"
    CHANGED = "changed"


def find_unlisted(manifest: Manifest) -> str:
    """Return the first required file that a manifest does not list, and that would therefore not be checked; "" if it lists all."""
    return next((name for name in CHECKPOINT_FILES if name not in manifest.files), "")


def find_fault(folder: Path, manifest: Manifest, *, verify: bool) -> tuple[str, FileFault] | None:
    """Return the first file that is missing or differs from the manifest, None if there is none. Names never lead out of the folder.

    Sizes are always compared; hashes only with verify.

    Raises:
        OSError: If a file cannot be read.
    """
    for name, expected in manifest.files.items():
        path = folder / Path(name).name
        if not path.is_file():
            return name, FileFault.MISSING
        if path.stat().st_size != expected.bytes or (verify and sha256(path) != expected.sha256):
            return name, FileFault.CHANGED
    return None


def digest(path: Path) -> FileDigest:
    """Return size and hash of a file."""
    return FileDigest(sha256=sha256(path), bytes=path.stat().st_size)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, or of the file that a link leads to, in hex."""
    with open_regular(path, follow_links=True) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, kw_only=True)
class KohyaPosition:
    """The step at which kohya's trainer saved a state: step and total_steps count over all attempts, epoch is the number of finished epochs."""

    step: int
    epoch: int
    total_steps: int

    def to_json(self) -> dict[str, int]:
        """Return the content of the file."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> "KohyaPosition":
        """Parse the content of the file.

        Raises:
            ValueError: If it is not three integers under their names.
        """
        names = ("step", "epoch", "total_steps")
        if not isinstance(value, dict) or set(value) != set(names) or not all(is_count(value[name]) for name in names):
            raise ValueError("it is not a position")
        return cls(**value)
