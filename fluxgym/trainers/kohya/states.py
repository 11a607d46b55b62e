"""State folders that kohya's trainer saves: is one complete, and at which step was it saved. Never loads one.

kohya writes into the final folder directly and leaves no manifest. accelerate writes the state of the random numbers last, so a complete
folder's is not older than its first file; each file's own format shows whether the file is complete.
"""

import zipfile
from pathlib import Path

from fluxgym.contract.checkpoint_manifest import KOHYA_EPOCH, KOHYA_STEP, KohyaPosition
from fluxgym.contract.files import (
    KOHYA_NETWORKS,
    KOHYA_OPTIMIZER,
    KOHYA_POSITION,
    KOHYA_RANDOM_STATES,
    MANIFEST,
    TRAIN_STATE,
    parse_state_name,
)
from fluxgym.contract.safetensors import is_whole
from fluxgym.runs.atomic_files import read_json, write_json
from fluxgym.runs.checkpoints import Checkpoint
from fluxgym.runs.storage_errors import raise_if_exhausted

ZIPPED = (".bin", ".pkl", ".pt")  # torch.save's files
CLOCK_SLACK_S = 2.0


def write_position(folder: Path, position: KohyaPosition) -> None:
    """Write the position into a state folder if the folder exists.

    Raises:
        StorageError: If it cannot be written.
    """
    if folder.is_dir():
        write_json(folder / KOHYA_POSITION, position.to_json())


def read_position(folder: Path) -> KohyaPosition | None:
    """Return the position that the supervisor wrote, else kohya's own count, which restarts at each resume; None if damaged."""
    try:
        started_at = (folder / TRAIN_STATE).stat().st_mtime
        if (folder / KOHYA_POSITION).is_file() and (folder / KOHYA_POSITION).stat().st_mtime >= started_at:
            return KohyaPosition.from_json(read_json(folder / KOHYA_POSITION))
        counted = read_json(folder / TRAIN_STATE)
        name = parse_state_name(folder.name)
        unfinished = int(name is not None and name.step is not None)  # kohya counts the epoch in which such a state was saved
        position = KohyaPosition(step=int(counted[KOHYA_STEP]), epoch=max(0, int(counted[KOHYA_EPOCH]) - unfinished), total_steps=0)
        return KohyaPosition.from_json(position.to_json())
    except (OSError, KeyError, TypeError, ValueError, OverflowError):
        return None


def read_state_folder(folder: Path, *, verify: bool = False) -> Checkpoint | None:
    """Return a state folder as a checkpoint, None if it is incomplete or one of FluxGym's own; verify computes checksums."""
    if (folder / MANIFEST).exists() or not is_complete(folder, verify=verify):
        return None
    position = read_position(folder)
    if position is None:
        return None
    try:
        written_at = (folder / TRAIN_STATE).stat().st_mtime
    except OSError:
        return None
    return Checkpoint(folder=folder, written_at=written_at, **position.to_json())


def is_complete(folder: Path, *, verify: bool = False) -> bool:
    """Return True if every file of a state exists and is complete; with verify, the checksums inside them are computed too."""
    try:
        files = {path.name: path for path in folder.iterdir() if path.is_file()}
        networks = [name for name in KOHYA_NETWORKS if name in files]
        if not networks or not {TRAIN_STATE, KOHYA_OPTIMIZER, KOHYA_RANDOM_STATES} <= files.keys():
            return False
        if files[KOHYA_RANDOM_STATES].stat().st_mtime < files[TRAIN_STATE].stat().st_mtime - CLOCK_SLACK_S:
            return False  # an older state of this name was being written over
        return all(_is_whole(path, verify=verify) for path in files.values() if path.suffix in (*ZIPPED, ".safetensors"))
    except OSError as error:
        raise_if_exhausted(error, folder)
        return False


def _is_whole(path: Path, *, verify: bool) -> bool:
    if path.suffix == ".safetensors":
        return is_whole(path)
    if not zipfile.is_zipfile(path):
        return False
    if not verify:
        return True
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError):
        return False
