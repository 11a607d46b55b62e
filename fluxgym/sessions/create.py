"""New run folders: made in a temporary folder and renamed to their name, so that a run is created atomically."""

import errno
import itertools
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from fluxgym.config.settings import OWN_KEYS, STATE_KEYS, TrainConfig
from fluxgym.contract.codes import Status
from fluxgym.dataset.folder import copy_into
from fluxgym.errors import NameTaken
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.state import create_state, name_of, next_version, read_state, slug_of
from fluxgym.runs.storage_errors import storage_error
from fluxgym.sessions.preconditions import name_lock

NOT_STARTED = "A copy that was not started yet; put its settings into the form, change what you like, and start it."
_NOT_COPIED = tuple(setting.name for setting in OWN_KEYS if not setting.in_template)  # lora_name and resume_from_checkpoint
NOT_EMPTY = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)


@contextmanager
def new_run(run: RunPaths, outputs: OutputsPaths, *, move_existing: AbstractContextManager[None] | None = None) -> Iterator[RunPaths]:
    """Yield the paths of a temporary run folder, which the caller creates and fills; it becomes `run` at the end of the block.

    The caller holds the name's lock. `move_existing` is entered when the temporary folder is complete; it moves away what has the name, and
    puts it back if the rename fails. After an error the temporary folder is removed and nothing else has changed.

    Raises:
        NameTaken: If `run` has a folder that is not empty.
        StorageError: If the folder cannot be created, written or renamed.
    """
    staging = RunPaths(outputs.new / f"{run.slug}-{secrets.token_hex(4)}")
    try:
        outputs.new.mkdir(parents=True, exist_ok=True)
        yield staging
        with move_existing or nullcontext():
            _rename(staging, run)
    except OSError as error:
        raise storage_error(error, run.folder) from error
    finally:
        shutil.rmtree(staging.folder, ignore_errors=True)


def _rename(staging: RunPaths, run: RunPaths) -> None:
    try:
        staging.folder.rename(run.folder)  # replaces nothing but an empty folder
    except OSError as error:
        if error.errno not in NOT_EMPTY:
            raise
        raise NameTaken(f"A training named {run.slug} was started in the meantime. Start again.", field="lora_name") from None


def free_copy_name(run: RunPaths) -> str:
    """Return the first of “My Cat 2”, “My Cat 3”, ... whose folder does not exist, as the name of a copy of “My Cat”."""
    outputs, name = OutputsPaths(run.folder.parent), name_of(run)
    for number in itertools.count(2):
        wanted = next_version(slug_of(name), number)
        if not os.path.lexists(outputs.run(wanted).folder):
            return f"{name} {number}" if slug_of(f"{name} {number}") == wanted else wanted
    raise AssertionError("count does not end")


def duplicate(run: RunPaths, new_name: str) -> RunPaths:
    """Make a run of another name with the same settings and images, which is not started; its `parent` is the run it came from.

    Raises:
        NameTaken: If that name has a folder.
        UnreadableState, ConfigError: If the parent's settings cannot be used.
    """
    outputs = OutputsPaths(run.folder.parent)
    state = read_state(run)
    copied = {name: state[name] for name in STATE_KEYS if name in state and name not in _NOT_COPIED}
    settings = copied | {"lora_name": new_name.strip()}
    TrainConfig.from_state(settings)
    copy = outputs.run(slug_of(new_name))
    parent = {"slug": run.slug, "run_id": state.get("run_id")}
    own = {"timestamp": time.time(), "status": Status.STOPPED, "reason": NOT_STARTED, "run_id": secrets.token_hex(8), "parent": parent}
    with name_lock(outputs, copy.slug):
        if copy.folder.exists():
            raise NameTaken(f"There is a run named {copy.slug} already; choose another name for the copy.", field="lora_name")
        with new_run(copy, outputs) as staging:
            staging.private.mkdir(parents=True)
            if run.dataset.is_dir() and any(run.dataset.iterdir()):
                copy_into(run.dataset, staging.dataset)
            create_state(staging, settings | own)
    return copy
