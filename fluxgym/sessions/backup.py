"""Write the states of all runs into an archive."""

import io
import tarfile
from pathlib import Path

from fluxgym.contract.regular_files import UnsafeFile, read_regular
from fluxgym.errors import StorageError
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.state import MAX_BYTES
from fluxgym.runs.storage_errors import raise_if_exhausted, storage_error


def backup(outputs: Path, target: Path) -> int:
    """Write all states into a .tar.gz, to be unpacked beside outputs/ as the guide's tar command does; return their number."""
    if not target.name or (target.exists() and not target.is_file()):
        raise StorageError(f"“{target}” is not a file name for a backup; name a file such as states.tar.gz.")
    tmp_path = target.with_name(f".{target.name}.partial")
    runs = sorted(OutputsPaths(outputs).runs(), key=lambda run: run.slug)
    try:
        with tarfile.open(tmp_path, "w:gz", dereference=True) as archive:
            for run in runs:
                _add(archive, run, f"{outputs.resolve().name}/{run.slug}/ui_state.json")
        tmp_path.replace(target)
    except OSError as error:
        raise storage_error(error, target) from error
    finally:
        tmp_path.unlink(missing_ok=True)
    return len(runs)


def _add(archive: tarfile.TarFile, run: RunPaths, name: str) -> None:
    try:
        data = read_regular(run.ui_state, MAX_BYTES)
    except FileNotFoundError:
        return  # forgotten in the meantime
    except OSError as error:
        raise_if_exhausted(error, run.ui_state)
        way_out = "repair the run" if isinstance(error, UnsafeFile) else "check its permissions"
        raise StorageError(f"{run.ui_state} cannot be read ({error.strerror}), so no backup was made; {way_out}.") from None
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = len(data), 0o644, _modified_at(run.ui_state)
    archive.addfile(entry, io.BytesIO(data))


def _modified_at(path: Path) -> float:
    """Return when a file was changed, in seconds since the epoch; 0 if that is not known."""
    try:
        return path.lstat().st_mtime
    except OSError:
        return 0.0
