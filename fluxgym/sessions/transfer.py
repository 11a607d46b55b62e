"""Export and import: one run's state as JSON, or runs as an archive; imported files are checked by name and value and never overwrite anything."""

import json
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fluxgym.config.settings import STATE_KEYS, TrainConfig
from fluxgym.contract.caption_files import CAPTION
from fluxgym.contract.codes import Status
from fluxgym.contract.files import UI_STATE
from fluxgym.contract.limits import MAX_CAPTION_BYTES
from fluxgym.contract.regular_files import is_readable, open_regular, read_regular
from fluxgym.dataset.folder import ImageFolder
from fluxgym.dataset.images import check_image
from fluxgym.errors import DatasetError, FluxGymError, ImportRefused
from fluxgym.runs.atomic_files import write_text
from fluxgym.runs.disk_space import ensure_free_space
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.state import MAX_BYTES, State, create_state, read_state, slug_of, timestamp_of
from fluxgym.runs.storage_errors import storage_error
from fluxgym.sessions.archive import pack, unpack
from fluxgym.sessions.create import new_run
from fluxgym.sessions.origin import IMPORTED
from fluxgym.sessions.preconditions import is_name_available, name_lock, run_versions

IMPORT_EXTENSIONS = (".zip", ".json")
SECRETS = ("token", "password", "secret", "api_key", "apikey", "credential")
NO_SECRETS = ("keep_tokens", "keep_tokens_separator", "max_token_length", "t5xxl_max_token_length", "weighted_captions")
OF_ITS_TRAINING = ("reason_code", "exit_code", "completed_at", "host")
MAX_DEPTH = 50
GZIP = b"\x1f\x8b"  # how a .tar.gz begins


@dataclass(frozen=True, kw_only=True)
class Export:
    """What goes into an archive besides the states."""

    images: bool = False
    lora: bool = False


def export_state(run: RunPaths, target: Path) -> None:
    """Write a run's state unchanged to a .json file.

    Raises:
        UnreadableState: If it cannot be read.
    """
    write_text(target, json.dumps(read_state(run), indent=2) + "\n")


def export_archive(runs: list[RunPaths], target: Path, what: Export) -> list[str]:
    """Write runs into a .zip, one folder each: ui_state.json, and on request dataset/ and the trained model.

    A run whose state could not be imported again is skipped if there are others. Returns one message per skipped run.

    Raises:
        FluxGymError: If no run is left.
    """
    usable, left_out = usable_runs(runs)
    staging = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    try:
        with staging.open("xb") as file:
            for chunk in pack(_exported(usable, what)):
                file.write(chunk)
        staging.replace(target)
    except OSError as error:
        raise storage_error(error, target) from error
    finally:
        staging.unlink(missing_ok=True)
    return [f"{run.slug}: {error}" for run, error in left_out]


def stream_archive(runs: list[RunPaths], what: Export) -> Iterator[bytes]:
    """Return an iterator over the chunks of an archive, each produced on demand.

    Raises:
        FluxGymError: As `export_archive` does, except for disk errors.
    """
    usable, _ = usable_runs(runs)
    return pack(_exported(usable, what))


def usable_runs(runs: list[RunPaths]) -> tuple[list[RunPaths], list[tuple[RunPaths, FluxGymError]]]:
    """Return the runs that an archive holds, and those that it leaves out, each with the reason.

    Raises:
        FluxGymError: If no run is left.
    """
    usable, left_out = [], []
    for run in runs:
        try:
            _checked(json.dumps(read_state(run)).encode(), f"{run.slug}/ui_state.json")
            usable.append(run)
        except FluxGymError as error:
            if len(runs) == 1:
                raise
            left_out.append((run, error))
    if not usable:
        raise ImportRefused("There is no run that could be exported. " + " ".join(f"{run.slug}: {error}" for run, error in left_out[:1]))
    return usable, left_out


def _exported(runs: list[RunPaths], what: Export) -> Iterator[tuple[Path, str]]:
    """Yield every exported file and its name in the archive."""
    for run in runs:
        for path in _files(run, what):
            yield path, f"{run.slug}/{path.relative_to(run.folder)}"


def _files(run: RunPaths, what: Export) -> Iterator[Path]:
    yield run.ui_state
    if what.images:
        captions = ImageFolder(run.dataset).caption_files()
        for name in ImageFolder(run.dataset).names():
            yield run.dataset / name
            caption = captions.get(name, "")
            if Path(caption).suffix == CAPTION and is_readable(run.dataset / caption, MAX_CAPTION_BYTES):
                yield run.dataset / caption
    if what.lora and run.lora.is_file():
        yield run.lora


def import_file(source: Path, outputs: OutputsPaths) -> list[RunPaths]:
    """Make runs of an exported .json or .zip, each stopped and under a name that is free; returns them.

    Everything is checked before the first run is moved. If the disk fails midway, the runs moved by then are moved back.

    Raises:
        ImportRefused: If the file holds anything that does not belong in an export; the message names it.
    """
    if not source.exists():
        raise ImportRefused(f"There is no file {source}; name an exported .zip or .json.")
    is_archive = _is_archive(source)
    ensure_free_space(outputs.root, 0)
    staging = outputs.new / f"import-{secrets.token_hex(4)}"
    try:
        staging.mkdir(parents=True)
        folders = unpack(source, staging) if is_archive else [_write_single(source, staging)]
        arriving = [_prepare(folder) for folder in folders]
        return _move_all(arriving, outputs, staging)
    except OSError as error:
        raise storage_error(error, outputs.root) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _is_archive(source: Path) -> bool:
    try:
        with open_regular(source, follow_links=True) as file:
            head = file.read(2)
    except OSError as error:
        raise ImportRefused(f"{source} cannot be read: {error.strerror}.") from None
    if head == GZIP:
        raise ImportRefused(f"{source.name} is a backup, not an export; restore it with: tar -xzf {source.name}")
    return head == b"PK" or source.suffix.lower() == ".zip"


def _write_single(source: Path, staging: Path) -> Path:
    with open_regular(source, follow_links=True) as file:
        data = file.read(MAX_BYTES + 1)
    folder = staging / slug_of(str(_checked(data, source.name)["lora_name"]))
    folder.mkdir()
    (folder / UI_STATE).write_bytes(data)
    return folder


def _prepare(folder: Path) -> RunPaths:
    """Check an unpacked run and mark its state as imported."""
    run = RunPaths(folder)
    state = _checked(read_regular(run.ui_state, MAX_BYTES), f"{folder.name}/ui_state.json")
    for name in ImageFolder(run.dataset).names():
        _check_image(run.dataset / name)
    before = state.get("run_id")
    own = {"timestamp": timestamp_of(state) or time.time(), "status": Status.STOPPED, "reason": IMPORTED, "run_id": secrets.token_hex(8)}
    parent = {"slug": folder.name, "run_id": before if isinstance(before, str) else None, "imported_at": time.time()}
    trained = {"trained_at": state["completed_at"]} if state.get("completed_at") is not None else {}
    create_state(run, {key: value for key, value in state.items() if key not in OF_ITS_TRAINING} | own | {"parent": parent | trained})
    return run


def _check_image(path: Path) -> None:
    try:
        check_image(path)
    except DatasetError as error:
        raise ImportRefused(f"The archive's image cannot be used: {error}") from None


def _checked(data: bytes, name: str) -> State:
    """Return the state in `data` after checking it: valid JSON, valid settings, no secret."""
    if len(data) > MAX_BYTES:
        raise ImportRefused(f"{name} is not a ui_state.json: those have at most {MAX_BYTES >> 10} kB.")
    try:
        state = json.loads(data)
        json.dumps(state, ensure_ascii=False, allow_nan=False).encode()
        keys = _keys(state)
    except (ValueError, RecursionError) as error:
        raise ImportRefused(f"{name} is not a FluxGym export: {_json_problem(error)}.") from None
    if not isinstance(state, dict):
        raise ImportRefused(f"{name} is not a ui_state.json: it must be a JSON object of settings.")
    secret = next((key for key in keys if any(word in key.lower() for word in SECRETS) and key.lower() not in NO_SECRETS), None)
    if secret:
        raise ImportRefused(f"{name} holds “{secret[:80]}”, which looks like a secret, which a state must not hold; remove it.")
    return state | _settings(state, name)


def _json_problem(error: Exception) -> str:
    """Return an error message for a file that should contain JSON."""
    if isinstance(error, json.JSONDecodeError):
        return f"it is not valid JSON (line {error.lineno}, column {error.colno})"
    return "it is not text" if isinstance(error, UnicodeDecodeError) else "it is not valid JSON, or nested too deep"


def _settings(state: State, name: str) -> State:
    """Return a state's settings converted to their types: 12 instead of "12"."""
    odd = next((key for key in STATE_KEYS if key != "advanced" and isinstance(state.get(key), (list, dict))), None)
    if odd:
        raise ImportRefused(f"{name} cannot be used: {odd} must be a single value.")
    if not any(key in state for key in STATE_KEYS):
        raise ImportRefused(f"{name} is not a FluxGym export: it holds no settings of a training.")
    if state.get("lora_name") in (None, ""):
        raise ImportRefused(f"{name} cannot be used: it has no lora_name, which is the name of the LoRA.")
    try:
        config = TrainConfig.from_state(state)
        slug_of(config.lora_name)
    except FluxGymError as error:
        raise ImportRefused(f"{name} cannot be used: {error}") from None
    return {key: value for key, value in config.to_state().items() if state.get(key) is not None}


def _keys(value: Any) -> list[str]:
    """Return every key in a JSON value at any depth.

    Raises:
        ValueError: Beyond MAX_DEPTH.
    """
    keys: list[str] = []
    level = [value]
    for _ in range(MAX_DEPTH):
        tables = [item for item in level if isinstance(item, dict)]
        keys += [key for table in tables for key in table]
        level = [item for table in tables for item in table.values()] + [item for row in level if isinstance(row, list) for item in row]
    if level:
        raise ValueError(f"it is nested more than {MAX_DEPTH} deep")
    return keys


def _move_all(arriving: list[RunPaths], outputs: OutputsPaths, staging: Path) -> list[RunPaths]:
    """Move prepared runs to free names: all of them, or none if one fails. Only a power cut can leave some of them."""
    moved: list[RunPaths] = []
    try:
        for run in arriving:
            moved.append(_move_in(run, outputs))
    except (FluxGymError, OSError):
        for run in moved:
            with name_lock(outputs, run.slug):
                if not run.launch.exists():  # not started in the meantime
                    run.folder.rename(staging / f"back-{run.slug}")
        raise
    return moved


def _move_in(arriving: RunPaths, outputs: OutputsPaths) -> RunPaths:
    """Move a prepared run to the first of its names that is free."""
    for run in run_versions(outputs, slug_of(str(read_state(arriving)["lora_name"]))):
        with name_lock(outputs, run.slug):
            if not is_name_available(run):
                continue
            with new_run(run, outputs) as staging:
                if arriving.lora.exists():
                    arriving.lora.rename(arriving.folder / run.lora.name)
                arriving.folder.rename(staging.folder)
            return run
    raise AssertionError("run_versions does not end")
