"""ui_state.json, read and written, and the folder name of a LoRA name."""

from typing import Any

from fluxgym.config.values import short
from fluxgym.contract.regular_files import UnsafeFile, read_regular
from fluxgym.errors import BadName, DamagedState, StorageError, UnreadableState
from fluxgym.runs.atomic_files import parse_json, write_json
from fluxgym.runs.locks import run_lock
from fluxgym.runs.path_checks import is_missing
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.storage_errors import raise_if_exhausted

SCHEMA_VERSION = 1
MAX_BYTES = 1 << 20

MAX_SLUG_LENGTH = 64
State = dict[str, Any]


def read_state(run: RunPaths) -> State:
    """Return a run's state.

    Raises:
        DamagedState: If the file holds no state, or is a link, a pipe or too large; the message has the remedy.
        UnreadableState: If it is missing, or cannot be read.
        NotReadableNow: If nothing can be known about it now.
    """
    path = run.ui_state
    try:
        data = read_regular(path, MAX_BYTES)
    except UnsafeFile as error:
        raise DamagedState(f"{path.name} is not a state: {error.strerror}; repair it, or replace it by a regular file.") from None
    except OSError as error:
        raise_if_exhausted(error, path)
        raise UnreadableState(f"{path.name} cannot be read ({error.strerror}); check the file's permissions and its disk.") from None
    try:
        state = parse_json(data)
    except (ValueError, RecursionError) as error:
        what = "is empty" if not data.strip() else f"is not valid JSON ({error})"
        raise DamagedState(f"{path.name} {what}; restore it from a backup, or delete it and start again.") from None
    if not isinstance(state, dict):
        raise DamagedState(f"{path.name} contains no settings; restore it from a backup, or delete it and start again.")
    return state


def read_state_or_empty(run: RunPaths) -> State:
    """Return a run's state, {} if it cannot be read."""
    try:
        return read_state(run)
    except UnreadableState:
        return {}


def create_state(run: RunPaths, state: State) -> None:
    """Write the state of a new start; the caller holds the lock.

    Raises:
        StorageError: If it cannot be written.
    """
    write_json(run.ui_state, {**state, "schema_version": SCHEMA_VERSION})


def update_state(run: RunPaths, changes: State, *, expected: State | None = None) -> bool:
    """Change some keys of a state under the run's lock; None removes a key, other keys stay. Return True if the state was written.

    A state that was deleted or damaged is not written, and neither is one that has other values than the expected ones by now.
    """
    try:
        with run_lock(run.lock):
            state = read_state(run)
            if any(state.get(key, value) != value for key, value in (expected or {}).items()):
                return False
            write_json(run.ui_state, {key: value for key, value in {**state, **changes}.items() if value is not None})
            return True
    except UnreadableState:
        return False
    except StorageError:
        if is_missing(run.folder):
            return False
        raise


def timestamp_of(state: State) -> float:
    """Return when the training was started, in seconds since the epoch; 0 if the state has no valid time."""
    value: Any = state.get("timestamp")
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e11
    return float(value) if usable else 0.0


def slug_of(lora_name: str) -> str:
    """Return the folder name of a LoRA name: transliterated, lower case, at most 64 characters.

    Raises:
        BadName: If the name is empty, longer than 200 characters, or has no letter or digit ("../", "🐱").
    """
    name = lora_name.strip()
    if not name:
        raise BadName("Give your LoRA a name.", field="lora_name")
    if len(name) > 200:
        raise BadName(f"The LoRA name has {len(name)} characters; at most 200 are allowed.", field="lora_name")
    if "/" in name or "\\" in name:
        raise BadName(f"The LoRA name “{short(name)}” holds a slash; use letters, digits, spaces and dashes.", field="lora_name")
    if not name.isprintable():
        raise BadName("The LoRA name holds a line break or another character that cannot be seen; type it again.", field="lora_name")
    from slugify import slugify  # the supervisor reads states but names no run; importing it costs 0.7 MB

    slug = slugify(name, max_length=MAX_SLUG_LENGTH)
    if not slug:
        raise BadName(f"The LoRA name “{short(name)}” gives no folder name; use at least one letter or digit.", field="lora_name")
    return slug


def shown_name(slug: str, state: State) -> str:
    """Return the name under which a run is shown: its LoRA's name, or its folder's name if another run had the LoRA's name before.

    The second run of the LoRA name "My Cat" has the folder my-cat-2 and is shown as my-cat-2.
    """
    name = str(state.get("lora_name") or slug)
    number = slug.rpartition("-")[2]
    if not number.isdecimal():
        return name
    try:
        first = slug_of(name)
    except BadName:
        return name
    return slug if slug != first and slug == next_version(first, int(number)) else name


def name_of(run: RunPaths) -> str:
    """Return the name under which a run is shown, that of its folder if its state cannot be read."""
    return shown_name(run.slug, read_state_or_empty(run))


def has_usual_folder(slug: str, name: str) -> bool:
    """Return True if a shown name gives this folder name, so that it tells the run from all others."""
    try:
        return slug == name or slug == slug_of(name)
    except BadName:
        return False


def next_version(slug: str, number: int) -> str:
    """Return `slug-number`, shortened to at most 64 characters."""
    ending = f"-{number}"
    return slug[: MAX_SLUG_LENGTH - len(ending)].rstrip("-") + ending
