"""States that kohya's own trainer has saved: whether one is complete, and where in the training it stands. Never loads one.

kohya writes straight into the final folder and leaves no manifest. Complete is judged by what accelerate writes: the random numbers' state
comes last, so it is no older than the first file, and every file says by its own form whether it is whole.
"""

import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path

from fluxgym.contract.safetensors import is_whole
from fluxgym.runs.files import read_json, write_json
from fluxgym.runs.paths import STATE_FOLDER

FIRST, LAST = "train_state.json", "random_states_0.pkl"
NETWORKS = ("model.safetensors", "pytorch_model.bin")
OPTIMIZER = "optimizer.bin"
ZIPPED = (".bin", ".pkl", ".pt")  # torch.save's files
PLACE = "fluxgym_place.json"
CLOCK_SLACK_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a state stands: step and total_steps count over all attempts, epoch is the number of epochs done."""

    step: int
    epoch: int
    total_steps: int


def write_position(folder: Path, *, step: int, epoch: int, total_steps: int) -> None:
    """Leave its place in a state's folder, if that is there; raises StorageError when the disk refuses."""
    if folder.is_dir():
        write_json(folder / PLACE, asdict(Place(step=step, epoch=epoch, total_steps=total_steps)))


def read_position(folder: Path) -> Place | None:
    """Return where a state stands: as the supervisor saw it, else as kohya counts it, which begins again at each resume."""
    try:
        began_at = (folder / FIRST).stat().st_mtime
        if (folder / PLACE).is_file() and (folder / PLACE).stat().st_mtime >= began_at:
            place = Place(**read_json(folder / PLACE))
            return place if all(type(value) is int for value in asdict(place).values()) else None
        counted = read_json(folder / FIRST)
        name = STATE_FOLDER.search(folder.name)
        begun = int(name is not None and name["step"] is not None)  # such a state lies within an epoch, which kohya counts already
        return Place(step=int(counted["current_step"]), epoch=max(0, int(counted["current_epoch"]) - begun), total_steps=0)
    except (OSError, KeyError, TypeError, ValueError):
        return None


def is_complete(folder: Path, *, verify: bool = False) -> bool:
    """Return True if every file of a state is there and whole; with `verify` the checksums inside them are computed too."""
    try:
        files = {path.name: path for path in folder.iterdir() if path.is_file()}
        networks = [name for name in NETWORKS if name in files]
        if not networks or not {FIRST, OPTIMIZER, LAST} <= files.keys():
            return False
        if files[LAST].stat().st_mtime < files[FIRST].stat().st_mtime - CLOCK_SLACK_S:
            return False  # an older state of this name was being written over
        return all(_is_whole(path, verify=verify) for path in files.values() if path.suffix in (*ZIPPED, ".safetensors"))
    except OSError:
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
