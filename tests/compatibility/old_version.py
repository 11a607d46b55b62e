"""Unpack the recorded outputs and the old package, and run the current command line on them as a user would."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]
OUTPUTS, OLD_PACKAGE = HERE / "outputs.tar.xz", HERE / "old_fluxgym.tar.gz"
BINARY = {".safetensors", ".png", ".bin", ".pkl"}
AGE_S = 3600  # old enough for silence on another host, too new for any cleanup
LIMIT_S = 300


@dataclass(frozen=True)
class Installation:
    """A checkout, or a folder that holds only the package, with an outputs folder; `program` is where `python -m fluxgym` runs."""

    outputs: Path
    program: Path = PROJECT
    sd_scripts: Path = PROJECT / "sd-scripts"

    def call(self, command: str, *words: object) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        folders = ["--outputs", str(self.outputs), "--models", str(PROJECT / "models"), "--sd-scripts", str(self.sd_scripts)]
        argv = [sys.executable, "-m", "fluxgym", command, *folders, *map(str, words)]
        return subprocess.run(argv, cwd=self.program, env=environment(), capture_output=True, text=True, timeout=LIMIT_S, check=False)

    def run(self, command: str, *words: object) -> str:
        """Run one command that must succeed; returns its standard output."""
        done = self.call(command, *words)
        assert done.returncode == 0, f"{command} {words}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def sessions(self) -> dict[str, dict[str, Any]]:
        """Return the list of runs by folder name."""
        return {session["slug"]: session for session in json.loads(self.run("sessions", "--json"))}

    def wait_for_status(self, slug: str, *statuses: str) -> dict[str, Any]:
        """Wait until the list shows a run with one of the statuses; returns its row."""
        deadline = time.monotonic() + LIMIT_S
        while (row := self.sessions().get(slug, {})).get("status") not in statuses:
            assert time.monotonic() < deadline, f"{slug} is {row}, not {statuses}"
            time.sleep(0.2)
        return row

    def wait_for_step(self, slug: str, step: int) -> None:
        """Wait until a run has made a step."""
        deadline = time.monotonic() + LIMIT_S
        while max(losses(self.outputs / slug), default=0) < step:
            assert time.monotonic() < deadline, f"{slug} made no step {step}"
            time.sleep(0.02)


def environment() -> dict[str, str]:
    """Return an environment with one thread per process, for the models are tiny."""
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def losses(run: Path, *, attempt: int | None = None) -> dict[int, float]:
    """Return the loss of each step of a run, of one attempt or of all."""
    path = run / "progress.jsonl"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    lines = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
    return {line["step"]: line["loss"] for line in lines if "loss" in line and attempt in (None, line["attempt"])}


def unpack_outputs(folder: Path, kohya: Path | None = None) -> Installation:
    """Unpack the recorded outputs into `folder` and put real paths in place of the placeholders."""
    with tarfile.open(OUTPUTS) as archive:
        archive.extractall(folder, filter="data")
    outputs = folder / "outputs"
    values = {"@OUTPUTS@": outputs, "@PROJECT@": PROJECT, "@KOHYA@": kohya or folder / "kohya", "@PYTHON@": sys.executable}
    for path in outputs.rglob("*"):
        if path.is_file() and path.suffix not in BINARY:
            text = path.read_text(encoding="utf-8")
            for name, value in values.items():
                text = text.replace(name, str(value))
            path.write_text(text, encoding="utf-8")
        moment = time.time() - AGE_S
        os.utime(path, (moment, moment))
    return Installation(outputs)


def unpack_old_package(folder: Path) -> Installation:
    """Unpack the old package and return it as an installation of its own, which uses the current trainer."""
    with tarfile.open(OLD_PACKAGE) as archive:
        archive.extractall(folder / "app", filter="data")
    return Installation(folder / "outputs", folder / "app")


def replace_package(old: Installation) -> None:
    """Put the current package where the old one is, as an upgrade does under a live supervisor."""
    shutil.rmtree(old.program / "fluxgym")
    shutil.copytree(PROJECT / "fluxgym", old.program / "fluxgym", ignore=shutil.ignore_patterns("__pycache__"))
