"""Export and import: one run's state as JSON, or runs as an archive; what comes in is checked by name and size and never overwrites."""

import json
import secrets
import shutil
import stat
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from fluxgym.config.train_config import TrainConfig
from fluxgym.dataset.folder import CAPTION, PictureFolder
from fluxgym.dataset.pictures import is_picture_name
from fluxgym.errors import ConfigError, DatasetError, FluxGymError, ImportRefused
from fluxgym.run.atomic import storage_error, write_text
from fluxgym.run.names import next_version, slug_of
from fluxgym.run.paths import OutputsPaths, RunPaths
from fluxgym.run.ui_state import MAX_BYTES, State, create_state, read_state

MAX_ENTRIES = 20_000
MAX_FILE_BYTES = 4 << 30
MAX_TOTAL_BYTES = 16 << 30
MAX_RATIO = 200
CHUNK = 1 << 20
IMPORTED = "Imported; it was not trained here."
SECRETS = ("token", "password", "secret", "api_key", "apikey", "credential")


@dataclass(frozen=True, kw_only=True)
class Export:
    """What goes into an archive besides the states."""

    pictures: bool = False
    lora: bool = False


def export_state(run: RunPaths, target: Path) -> None:
    """Write a run's state as it is to a .json file; raises UnreadableState for one that cannot be read."""
    write_text(target, json.dumps(read_state(run), indent=2, ensure_ascii=False) + "\n")


def export_archive(runs: list[RunPaths], target: Path, what: Export) -> None:
    """Write runs into a .zip, one folder each: ui_state.json, and as asked dataset/ and the trained model."""
    aside = target.with_name(f".{target.name}.partial")
    try:
        with zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED) as archive:
            for run in runs:
                for path in _exported(run, what):
                    stored = path.suffix in (".safetensors", ".png", ".jpg", ".jpeg", ".webp")
                    kind = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
                    archive.write(path, f"{run.slug}/{path.relative_to(run.folder)}", kind)
        aside.replace(target)
    except OSError as error:
        raise storage_error(error, target) from error
    finally:
        aside.unlink(missing_ok=True)


def _exported(run: RunPaths, what: Export) -> Iterator[Path]:
    yield run.ui_state
    if what.pictures:
        for name in PictureFolder(run.dataset).names():
            yield run.dataset / name
            if (caption := (run.dataset / name).with_suffix(CAPTION)).is_file():
                yield caption
    if what.lora and run.lora.is_file():
        yield run.lora


def import_file(source: Path, outputs: OutputsPaths) -> list[RunPaths]:
    """Make runs of an exported .json or .zip, each under a name that is free; returns them.

    Raises ImportRefused naming the entry that has no place in such a file. Nothing is imported unless all of it can be.
    """
    aside = outputs.own / "new" / f"import-{secrets.token_hex(4)}"
    try:
        aside.mkdir(parents=True)
        if zipfile.is_zipfile(source):
            _unpack(source, aside)
        else:
            _write_single(source, aside)
        return [_take_in(folder, outputs) for folder in sorted(aside.iterdir())]
    except zipfile.BadZipFile as error:
        raise ImportRefused(f"{source.name} is a damaged archive ({error}); export it again.") from None
    except OSError as error:
        raise storage_error(error, source) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _write_single(source: Path, aside: Path) -> None:
    with source.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    state = _checked(data, source.name)
    folder = aside / slug_of(str(state["lora_name"]))
    folder.mkdir()
    (folder / "ui_state.json").write_bytes(json.dumps(state, ensure_ascii=False).encode())


def _unpack(source: Path, aside: Path) -> None:
    """Unpack what belongs into a run; counts real bytes, whatever the archive says of itself."""
    with zipfile.ZipFile(source) as archive:
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        if len(entries) > MAX_ENTRIES:
            raise ImportRefused(f"{source.name} holds {len(entries)} files; at most {MAX_ENTRIES} are taken.")
        places = [(entry, aside.joinpath(*_place(entry).parts)) for entry in entries]
        left = MAX_TOTAL_BYTES
        for entry, target in places:
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(entry) as packed, target.open("xb") as file:
                left -= _copy(packed, file, entry, left)
        states = {target.parent for _, target in places if target.name == "ui_state.json"}
        for folder in aside.iterdir():
            if folder not in states:
                raise ImportRefused(f"The folder {folder.name} in {source.name} has no ui_state.json, so it is no run.")
            state = _checked((folder / "ui_state.json").read_bytes(), f"{folder.name}/ui_state.json")
            (folder / "ui_state.json").write_text(json.dumps(state, ensure_ascii=False), encoding="utf-8")


def _place(entry: zipfile.ZipInfo) -> PurePosixPath:
    """Return where an entry goes inside the aside folder; refuses paths that leave it, links, and what is no part of a run."""
    path = PurePosixPath(entry.filename)
    kind = stat.S_IFMT(entry.external_attr >> 16)
    shown = entry.filename[:120]
    if path.is_absolute() or ".." in path.parts or "\\" in entry.filename or ":" in entry.filename:
        raise ImportRefused(f"The archive holds “{shown}”, a path that leads out of it.")
    if kind not in (0, stat.S_IFREG):
        raise ImportRefused(f"The archive holds “{shown}”, which is a link or a device, not a file.")
    is_state = len(path.parts) == 2 and path.name == "ui_state.json"
    is_model = len(path.parts) == 2 and path.suffix == ".safetensors" and path.stem == path.parts[0]
    is_data = len(path.parts) == 3 and path.parts[1] == "dataset" and (is_picture_name(path.name) or path.suffix == CAPTION)
    if not (is_state or is_model or is_data) or any(part.startswith(".") for part in path.parts):
        raise ImportRefused(f"The archive holds “{shown}”, which is no part of an exported run.")
    return path


def _copy(packed: IO[bytes], file: IO[bytes], entry: zipfile.ZipInfo, left: int) -> int:
    """Copy an entry by pieces; returns its real size. Refuses a bomb as soon as it swells."""
    limit = min(MAX_BYTES if entry.filename.endswith("ui_state.json") else MAX_FILE_BYTES, left)
    limit = min(limit, max(CHUNK, entry.compress_size * MAX_RATIO))
    size = 0
    while chunk := packed.read(CHUNK):
        size += len(chunk)
        if size > limit:
            raise ImportRefused(f"“{entry.filename[:120]}” in the archive swells beyond {limit >> 20} MB when it is unpacked; it was not.")
        file.write(chunk)
    return size


def _checked(data: bytes, name: str) -> State:
    """Return a state that may come in: JSON, settings of use, no secret."""
    try:
        state = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ImportRefused(f"{name} is not valid JSON ({error}).") from None
    if len(data) > MAX_BYTES or not isinstance(state, dict):
        raise ImportRefused(f"{name} is no ui_state.json: it must be a table of settings of at most {MAX_BYTES >> 10} kB.")
    secret = next((key for key in _keys(state) if any(word in key.lower() for word in SECRETS) and key.lower() not in _KNOWN), None)
    if secret:
        raise ImportRefused(f"{name} holds “{secret[:80]}”, which looks like a secret and has no place in a state; remove it.")
    try:
        config = TrainConfig.from_state(state)
        slug_of(config.lora_name)
    except (ConfigError, FluxGymError) as error:
        raise ImportRefused(f"{name} cannot be used: {error}") from None
    return state


_KNOWN = ("keep_tokens", "keep_tokens_separator", "max_token_length", "t5xxl_max_token_length", "weighted_captions")


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from _keys(item)


def _take_in(folder: Path, outputs: OutputsPaths) -> RunPaths:
    """Move an unpacked run to a free name, as one that was not trained here."""
    state = json.loads((folder / "ui_state.json").read_text(encoding="utf-8"))
    pictures = PictureFolder(folder / "dataset")
    for name in pictures.names():
        _check_picture(pictures.path / name)
    slug = slug_of(str(state["lora_name"]))
    run = next(run for name in _names(slug) if not (run := outputs.run(name)).folder.exists())
    arriving = RunPaths(folder)
    parent = {"slug": folder.name, "run_id": state.get("run_id")}
    own = {"status": "stopped", "reason": IMPORTED, "run_id": secrets.token_hex(8), "parent": parent}
    kept = {key: value for key, value in state.items() if key not in ("reason_code", "exit_code", "completed_at", "host")}
    create_state(arriving, {"timestamp": time.time(), **kept, **own})
    for model in folder.glob("*.safetensors"):
        model.rename(folder / run.lora.name)
    folder.rename(run.folder)
    return run


def _check_picture(path: Path) -> None:
    from fluxgym.dataset.pictures import check_picture

    try:
        check_picture(path)
    except DatasetError as error:
        raise ImportRefused(f"The archive's picture cannot be used: {error}") from None


def _names(slug: str) -> Iterator[str]:
    yield slug
    yield from (next_version(slug, number) for number in range(2, 100_000))
