"""The folders of the user's guide, runs under a real supervisor, and the guide's commands in a shell."""

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
from tests.support.small_installation import TRAINER, small_installation, state

ROOT = Path(__file__).parents[2]
EPOCH_STEPS = 8  # 4 images, twice
HELD_AT = 5


def requires_programs(*programs: str):
    """Skip a test if a program that the guide's command uses is not installed."""
    missing = [program for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(bool(missing), reason=f"the guide's command needs {' and '.join(missing)}, which this machine lacks")


class GuideInstallation:
    """The guide's folders: `outputs/` in the working folder, and a small trainer that runs max_train_epochs epochs."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.settings = folder, small_installation(folder)
        trainer = TRAINER.replace('int(os.environ.get("TEST_STEPS", "8"))', f"{EPOCH_STEPS} * int(args.max_train_epochs)")
        trainer = trainer.replace('while os.path.exists(f"{folder}/hold") or ', f"while step == {HELD_AT} and ")
        talkative = "import os; print(dict(os.environ), flush=True)\n"  # as a library may do
        (self.settings.sd_scripts / "flux_train_network.py").write_text(talkative + trainer)
        (folder / "held").mkdir()
        self.outputs = self.settings.outputs
        self.outputs.mkdir()
        self.images = write_cats(folder / "images")
        self.started: list[RunPaths] = []

    def begin(self, name: str = "my-lora", *, held: bool = False, if_exists=None, **changes: object) -> RunPaths:
        """Start a training and wait until its trainer is held at step HELD_AT, or until it has ended."""
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
        """Release a held trainer and wait for its end."""
        (self.folder / "held" / run.slug).unlink()
        record = read_record(run)
        wait_for(lambda: not is_alive(record.supervisor) and not is_alive(record.trainer))

    def sh(self, command: str) -> str:
        """Run one of the guide's commands in its working folder and return its output."""
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", command], cwd=self.folder, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def python(self, program: str) -> str:
        """Run the guide's Python."""
        done = subprocess.run([sys.executable, "-c", program], cwd=self.folder, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout

    def cli(self, *words: str) -> str:
        """Run `python -m fluxgym …` and return its output."""
        folders = ["--outputs", "outputs", "--models", "models", "--sd-scripts", "sd-scripts"]
        command = [sys.executable, "-m", "fluxgym", words[0], *folders, *words[1:]]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=120, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def rows(self) -> dict[str, Session]:
        """Return the sessions by folder, newest first, after checking that page and terminal list the same."""
        rows = {session.slug: session for session in list_sessions(self.outputs)}
        entries = SessionIndex(self.outputs).entries(everything=True)
        assert [(entry.slug, entry.name, entry.status) for entry in entries] == [(row.slug, row.name, row.status) for row in rows.values()]
        return rows


@contextmanager
def guide_installation(folder: Path) -> Iterator[GuideInstallation]:
    """Yield a world and kill the processes that were started in it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEST_HOLD", str(folder / "held"))
        world = GuideInstallation(folder)
        try:
            yield world
        finally:
            for run in world.started:
                kill(run)


def kill(run: RunPaths) -> None:
    """Kill all processes of a run, as a power cut would."""
    record = read_record(run)
    processes = [process for process in (record.supervisor, record.trainer) if process] if record else []
    for process in processes:
        if is_alive(process):
            os.kill(process.pid, signal.SIGKILL)
    wait_for(lambda: not any(is_alive(process) for process in processes))
