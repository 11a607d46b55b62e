"""What checkpoints say about themselves: the manifest of FluxGym's trainer, and the position that FluxGym writes into kohya's states."""

import hashlib
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

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
        """Parse the content of the file; raises ValueError if it is not a manifest."""
        try:
            files = {str(name): FileDigest(sha256=str(item["sha256"]), bytes=int(item["bytes"])) for name, item in value["files"].items()}
            step, epoch, total_steps = (int(value[name]) for name in ("step", "epoch", "total_steps"))
            return cls(files=files, step=step, epoch=epoch, total_steps=total_steps, run_id=str(value.get("run_id", "")))
        except (KeyError, TypeError, AttributeError, OverflowError, ValueError):
            raise ValueError("it is not a manifest") from None


class FileFault(StrEnum):
    """What is wrong with a file of a checkpoint."""

    MISSING = "missing"
    CHANGED = "changed"


def find_fault(folder: Path, manifest: Manifest, *, verify: bool) -> tuple[str, FileFault] | None:
    """Return the first file that is missing or differs from the manifest, None if there is none. Names never lead out of the folder.

    Sizes are always compared; hashes only with verify. Raises OSError if a file cannot be read.
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
        """Parse the content of the file; raises ValueError if it is not three integers under their names."""
        names = ("step", "epoch", "total_steps")
        if not isinstance(value, dict) or set(value) != set(names) or not all(type(value[name]) is int for name in names):
            raise ValueError("it is not a position")
        return cls(**value)
