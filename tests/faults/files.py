"""Faults of files: damaged states, processes that are killed while they write, and disks that are full or fail at any byte."""

import errno
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fluxgym.app_settings import Settings
from fluxgym.contract.codes import LIVE, Status
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.state import read_state
from fluxgym.sessions.index import SessionIndex
from fluxgym.sessions.listing import list_sessions
from tests.faults.result import ROOT, Result, try_each
from tests.support.photos import write_cats
from tests.support.runs import make_run, wait_for
from tests.support.small_installation import small_installation, state
from tests.support.volume_shim import failing_environment

MAX_BUDGET = 60_000  # more bytes than a process of a small run writes
ERRORS = {"full": errno.ENOSPC, "over its quota": errno.EDQUOT, "failing": errno.EIO}


def damaged_states(folder: Path, count: int, seed: int) -> Result:
    """Cut, flip and swap bytes of states: nothing breaks off, and a good session beside them is always listed."""
    outputs = folder / "damaged"
    good, bad = make_run(outputs, "good", status="stopped"), make_run(outputs, "bad", status="stopped", advanced={"train_batch_size": 2})
    whole, index = bad.ui_state.read_bytes(), SessionIndex(outputs)

    def attempt(_: int, dice: random.Random) -> str:
        bad.ui_state.write_bytes(mutated(whole, dice))
        rows = {session.slug: str(session.status) for session in list_sessions(outputs)}
        shown = {entry.slug: str(entry.status) for entry in index.entries()}
        return "" if rows.get(good.slug) == "stopped" and set(rows) == {"good", "bad"} and rows == shown else f"{rows} {shown}"

    return try_each(count, seed, attempt)


def mutated(whole: bytes, dice: random.Random) -> bytes:
    """Return a state's bytes after up to 6 changes."""
    data = bytearray(whole)
    for _ in range(dice.randint(1, 6)):
        kind, position = dice.randrange(6), dice.randrange(max(1, len(data)))
        if kind == 0:
            del data[position:]
        elif kind == 1 and data:
            data[position % len(data)] = dice.randrange(256)
        elif kind == 2:
            data[position:position] = dice.choice([b"null", b"[[[", b"1e999", b"-0", b'"', b"\xff\xfe", b"\0", b"NaN", b"{}", b"9" * 400])
        elif kind == 3:
            del data[position : position + dice.randrange(30)]
        elif kind == 4:
            data = bytearray(dice.choice([b"", b"[]", b"3", b'"x"', b"\xef\xbb\xbf" + whole, whole.decode().encode("utf-16"), whole * 2]))
        else:
            data = data.replace(
                dice.choice([b"stopped", b'"cat"', b"1", b"timestamp"]), dice.choice([b"running", b"[]", b"null", b"{}", b"-1"])
            )
    return bytes(data)


WRITER = """
import sys
from pathlib import Path
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.state import update_state
run, number = RunPaths(Path(sys.argv[1])), 0
print('on', flush=True)
while True:
    number += 1
    update_state(run, {'number': number, 'padding': 'x' * (number % 5000)})
"""


def killed_writes(folder: Path, count: int, seed: int) -> Result:
    """Kill -9 a process at a random moment while it writes a state over and over: the file is always whole."""
    run = make_run(folder / "writes", status="stopped")

    def attempt(_: int, dice: random.Random) -> str:
        child = subprocess.Popen([sys.executable, "-c", WRITER, str(run.folder)], cwd=ROOT, stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(dice.uniform(0, 0.03))  # the moment is the fault
        child.kill()
        child.wait()
        child.stdout.close()
        rows = [str(session.status) for session in list_sessions(folder / "writes")]
        return "" if read_state(run)["lora_name"] == "cat" and rows == ["stopped"] else f"{rows}"

    return try_each(count, seed, attempt)


def failing_disks(folder: Path, count: int, seed: int) -> Result:
    """Let the disk be full, or fail, for each process of a start and its training after some bytes: the list is right, nothing is torn.

    Each try ends with a start on a disk that works, which trains to the end.
    """
    images = write_cats(folder / "images", count=4, size=64)
    (folder / "state.json").write_text(json.dumps(state()))

    def attempt(number: int, dice: random.Random) -> str:
        volume = folder / f"volume-{number}"
        volume.mkdir()
        world = small_installation(volume)
        budget = round(MAX_BUDGET ** dice.random()) - 1
        kind = dice.choice(list(ERRORS))
        lost = _start_on(world, images, failing_environment(folder, world.outputs, num_bytes=budget, error=ERRORS[kind]))
        lost = lost or _start_on(world, images, {}, ends={Status.COMPLETED})
        shutil.rmtree(volume, ignore_errors=True)
        return f"disk {kind} after {budget} bytes: {lost}" if lost else ""

    try:
        return try_each(count, seed, attempt)
    except pytest.skip.Exception as reason:
        return Result(tried=0, held=0, note=str(reason))


def _start_on(world: Settings, images: Path, environment: dict[str, str], *, ends: set[Status] | None = None) -> str:
    """Start a run in the terminal and wait for its end; returns what is wrong then, "" if nothing is. It ends with one of `ends`, if given."""
    folders = ["--outputs", str(world.outputs), "--models", str(world.models), "--sd-scripts", str(world.sd_scripts)]
    command = [sys.executable, "-m", "fluxgym", "start", *folders, "--state", str(images.parent / "state.json"), "--images", str(images)]
    command += ["--if-exists", "replace", "--wait"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=120, check=False)
    if "Traceback" in done.stderr:
        return "a traceback: " + done.stderr.strip().splitlines()[-1]
    wait_for(lambda: not LIVE & {session.status for session in list_sessions(world.outputs)}, 60)
    rows = [session.status for session in list_sessions(world.outputs)]
    torn = [path.name for run in OutputsPaths(world.outputs).runs() for path in _torn_files(run)]
    if torn:
        return f"{torn[0]} is torn"
    return f"{rows} {done.stderr[-200:]}" if len(rows) > 1 or (ends is not None and set(rows) != ends) else ""


def _torn_files(run: RunPaths) -> list[Path]:
    """Return the JSON files of a run that cannot be parsed; temporary ones and reserved space do not count."""
    torn = []
    for path in run.folder.rglob("*.json"):
        try:
            json.loads(path.read_bytes())
        except ValueError:
            torn += [] if path.name.startswith(".") or ".partial" in str(path) else [path]
    return torn
