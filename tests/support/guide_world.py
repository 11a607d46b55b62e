"""Folders as the user's guide has them, runs in them over a real supervisor, and the guide's commands typed into a shell beside them."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fluxgym.runs.paths import RunPaths
from fluxgym.runs.process_identity import is_alive, read_record
from fluxgym.runs.progress import read_last
from fluxgym.sessions.control import wait_until_ended
from fluxgym.sessions.index import SessionIndex
from fluxgym.sessions.listing import Session, list_sessions
from fluxgym.sessions.start import StartRequest, start
from tests.support.photos import write_cats
from tests.support.runs import state_of, wait_for
from tests.support.small_world import TRAINER, small_world, state

ROOT = Path(__file__).parents[2]
EPOCH_STEPS = 8  # 4 images, twice
HELD_AT = 5


def need(*programs: str):
    """Skip a test on a machine that lacks what the guide's command calls."""
    missing = [program for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(bool(missing), reason=f"the guide's command needs {' and '.join(missing)}, which this machine lacks")


class World:
    """Folders as the guide has them: `outputs/` in the working folder, and a little trainer that trains as many epochs as it is told."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.settings = folder, small_world(folder)
        trainer = TRAINER.replace('int(os.environ.get("TEST_STEPS", "8"))', f"{EPOCH_STEPS} * int(args.max_train_epochs)")
        trainer = trainer.replace('while os.path.exists(f"{folder}/hold") or ', f"while step == {HELD_AT} and ")
        talkative = "import os; print(dict(os.environ), flush=True)\n"  # what a library may well do
        (self.settings.sd_scripts / "flux_train_network.py").write_text(talkative + trainer)
        (folder / "held").mkdir()
        self.outputs = self.settings.outputs
        self.outputs.mkdir()
        self.images = write_cats(folder / "images")
        self.started: list[RunPaths] = []

    def begin(self, name: str = "my-lora", *, held: bool = False, if_exists=None, **changes: object) -> RunPaths:
        """Start a training; wait until its trainer is held in mid-run, or until all is done."""
        if held:
            (self.folder / "held" / name).touch()
        request = StartRequest(state=state(lora_name=name, **changes), images=self.images, if_exists=if_exists)
        run = start(request, self.settings)
        self.started.append(run)
        if held:
            wait_for(lambda: (read_last(run.progress) or {}).get("step") == HELD_AT and state_of(run)["status"] == "running")
        else:
            wait_until_ended(run)
        return run

    def release(self, run: RunPaths) -> None:
        """Let a held trainer go on, and wait for the end."""
        (self.folder / "held" / run.slug).unlink()
        record = read_record(run)
        wait_for(lambda: not is_alive(record.supervisor) and not is_alive(record.trainer))

    def sh(self, command: str) -> str:
        """Run one of the guide's commands where the guide's reader stands; returns what it printed."""
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", command], cwd=self.folder, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def python(self, program: str) -> str:
        """Run the guide's Python."""
        done = subprocess.run([sys.executable, "-c", program], cwd=self.folder, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout

    def cli(self, *words: str) -> str:
        """Run `python -m fluxgym …`; returns what it printed."""
        folders = ["--outputs", "outputs", "--models", "models", "--sd-scripts", "sd-scripts"]
        command = [sys.executable, "-m", "fluxgym", words[0], *folders, *words[1:]]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=120, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def rows(self) -> dict[str, Session]:
        """Return the list by folder, newest first; the page's and the terminal's are the same."""
        rows = {session.slug: session for session in list_sessions(self.outputs)}
        entries = SessionIndex(self.outputs).look(everything=True)
        assert [(entry.slug, entry.lora_name, entry.status) for entry in entries] == [
            (row.slug, row.lora_name, row.status) for row in rows.values()
        ]
        return rows


@contextmanager
def guide_world(folder: Path) -> Iterator[World]:
    """Give a world, and end whatever was started in it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEST_HOLD", str(folder / "held"))
        world = World(folder)
        try:
            yield world
        finally:
            for run in world.started:
                kill(run)


def kill(run: RunPaths) -> None:
    """End all that lives of a run, as a power cut would."""
    record = read_record(run)
    processes = [process for process in (record.supervisor, record.trainer) if process] if record else []
    for process in processes:
        if is_alive(process):
            os.kill(process.pid, signal.SIGKILL)
    wait_for(lambda: not any(is_alive(process) for process in processes))
