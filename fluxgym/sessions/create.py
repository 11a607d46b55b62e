"""Duplicate: a new run with another's settings, images and captions, which knows its parent. It is not started."""

import secrets
import shutil
import time
from pathlib import Path

from fluxgym.config.settings import STATE_KEYS, TrainConfig
from fluxgym.contract.codes import Status
from fluxgym.dataset.folder import copy_into
from fluxgym.errors import NameTaken
from fluxgym.runs.files import storage_error
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.state import State, create_state, read_state, slug_of
from fluxgym.sessions.history import keep
from fluxgym.sessions.preconditions import name_lock

NOT_STARTED = "A copy that was not started yet; put its settings into the form, change what you like, and start it."


def duplicate(run: RunPaths, new_name: str) -> RunPaths:
    """Make a run of another name with the same settings and data set; its `parent` is the run it came from.

    Raises NameTaken when that name has a folder, UnreadableState or ConfigError when the parent's settings cannot be used.
    """
    outputs = OutputsPaths(run.folder.parent)
    state = read_state(run)
    settings = {name: state[name] for name in STATE_KEYS if name in state and name != "resume_from_checkpoint"} | {
        "lora_name": new_name.strip()
    }
    TrainConfig.from_state(settings)
    copy = outputs.run(slug_of(new_name))
    with name_lock(outputs, copy.slug):
        if copy.folder.exists():
            raise NameTaken(f"There is a run named {copy.slug} already; choose another name for the copy.", field="lora_name")
        _make(copy, run, settings, outputs.new, state.get("run_id"))
    return copy


def _make(copy: RunPaths, run: RunPaths, settings: State, new: Path, run_id: object) -> None:
    """Make the copy's folder aside and move it to its name."""
    staging = RunPaths(new / f"{copy.slug}-{secrets.token_hex(4)}")
    parent = {"slug": run.slug, "run_id": run_id}
    own = {"timestamp": time.time(), "status": Status.STOPPED, "reason": NOT_STARTED, "run_id": secrets.token_hex(8), "parent": parent}
    try:
        staging.private.mkdir(parents=True)
        if run.dataset.is_dir() and any(run.dataset.iterdir()):
            copy_into(run.dataset, staging.dataset, "")
        keep(run, into=staging)
        create_state(staging, settings | own)
        staging.folder.rename(copy.folder)
    except OSError as error:
        raise storage_error(error, copy.folder) from error
    finally:
        shutil.rmtree(staging.folder, ignore_errors=True)
