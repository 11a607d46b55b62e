"""The paths of outputs/ and of a run's folder."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fluxgym.contract.files import (
    DATASET_FOLDER,
    DATASET_TOML,
    HISTORY_FOLDER,
    LORA_ENDING,
    MONITOR_LOG,
    MONITOR_PID,
    PRIVATE_FOLDER,
    PROGRESS,
    SAMPLE_FOLDER,
    SAMPLE_PROMPTS,
    STATE_ENDING,
    TRAIN_SH,
    TRAINING_LOG,
    TRAINING_PID,
    UI_STATE,
    lora_name,
    parse_short_state_name,
    parse_state_name,
    state_name,
)
from fluxgym.contract.lease import LEASE
from fluxgym.contract.limits import MAX_NAME_BYTES
from fluxgym.errors import SessionNotFound


@dataclass(frozen=True)
class RunPaths:
    """The folder of one run and the files in it."""

    folder: Path

    @property
    def slug(self) -> str:
        """The folder's name, which is also the trainer's --output_name."""
        return self.folder.name

    @property
    def ui_state(self) -> Path:
        """Settings and status."""
        return self.folder / UI_STATE

    @property
    def training_pid(self) -> Path:
        """The trainer's PID while it runs."""
        return self.folder / TRAINING_PID

    @property
    def monitor_pid(self) -> Path:
        """The supervisor's PID while monitoring is on."""
        return self.folder / MONITOR_PID

    @property
    def monitor_log(self) -> Path:
        """The supervisor's log."""
        return self.folder / MONITOR_LOG

    @property
    def training_log(self) -> Path:
        """All output of the trainer."""
        return self.folder / TRAINING_LOG

    @property
    def progress(self) -> Path:
        """Phase, step, loss and so on, one JSON object per line."""
        return self.folder / PROGRESS

    @property
    def dataset_toml(self) -> Path:
        """The trainer's dataset configuration."""
        return self.folder / DATASET_TOML

    @property
    def sample_prompts(self) -> Path:
        """The trainer's sample prompts."""
        return self.folder / SAMPLE_PROMPTS

    @property
    def train_sh(self) -> Path:
        """The trainer's command, to read or to run by hand."""
        return self.folder / TRAIN_SH

    @property
    def dataset(self) -> Path:
        """Images and captions of this run."""
        return self.folder / DATASET_FOLDER

    @property
    def samples(self) -> Path:
        """Sample images."""
        return self.folder / SAMPLE_FOLDER

    @property
    def history(self) -> Path:
        """States and exit records of earlier starts."""
        return self.folder / HISTORY_FOLDER

    @property
    def private(self) -> Path:
        """Files that only FluxGym uses."""
        return self.folder / PRIVATE_FOLDER

    @property
    def process(self) -> Path:
        """Identities of trainer and supervisor."""
        return self.private / "process.json"

    @property
    def lock(self) -> Path:
        """The run's lock."""
        return self.private / "lock"

    @property
    def supervisor_lock(self) -> Path:
        """Held by the run's supervisor, so that there is only one."""
        return self.private / "supervisor.lock"

    @property
    def stop(self) -> Path:
        """The stop request."""
        return self.private / "stop.json"

    @property
    def stop_reserve(self) -> Path:
        """Reserved space for the stop request, in case the disk is full by then."""
        return self.private / "stop.reserved"

    @property
    def exit(self) -> Path:
        """How the last attempt ended."""
        return self.private / "exit.json"

    @property
    def exit_reserve(self) -> Path:
        """Reserved space for the exit record, in case the disk is full by then."""
        return self.private / "exit.reserved"

    @property
    def launch(self) -> Path:
        """The launch spec of the latest attempt."""
        return self.private / "launch.json"

    @property
    def refused_checkpoints(self) -> Path:
        """The checkpoints that were found damaged or that a trainer refused."""
        return self.private / "checkpoints.json"

    @property
    def lease(self) -> Path:
        """Which supervisor the folder belongs to."""
        return self.private / LEASE

    @property
    def earlier(self) -> Path:
        """What was in the folder when the latest attempt's trainer was started."""
        return self.private / "earlier.json"

    @property
    def forgotten(self) -> Path:
        """ui_state.json of a run that was taken off the list, so that it can be put back."""
        return self.private / "forgotten.json"

    @property
    def ticket(self) -> Path:
        """The run's ticket in the queue, while it waits."""
        return OutputsPaths(self.folder.parent).queue / f"{self.slug}.json"

    @property
    def lora(self) -> Path:
        """The trained model."""
        return self.folder / lora_name(self.slug)

    def lora_files(self) -> list[Path]:
        """Return every LoRA file of the run, the trained model last."""
        return sorted(self.folder.glob(f"*{LORA_ENDING}"), key=lambda path: (path == self.lora, path.name))

    def checkpoint_folders(self) -> list[Path]:
        """Return every folder with a checkpoint's name, unordered and unchecked."""
        return [path for path in self.folder.glob(f"*{STATE_ENDING}") if path.is_dir() and parse_state_name(path.name)]

    def checkpoint(self, name: str) -> Path:
        """Return the folder of a checkpoint by its name, or by the short form `my-cat-lora-4-state` for epoch 4 of this run.

        A run may itself be called my-cat-lora-4, so an existing folder of exactly this name comes first.
        """
        literal = self.folder / Path(name).name
        short = parse_short_state_name(literal.name)
        if short is None or short.output_name != self.slug or literal.is_dir():
            return literal
        return self.folder / state_name(self.slug, short.suffix)


@dataclass(frozen=True)
class OutputsPaths:
    """The outputs folder: one folder per run, and `.fluxgym` for everything else."""

    root: Path

    @property
    def own(self) -> Path:
        """FluxGym's own folder in outputs."""
        return self.root / ".fluxgym"

    @property
    def drafts(self) -> Path:
        """Forms and images before Start, one folder per browser."""
        return self.own / "drafts"

    @property
    def archive(self) -> Path:
        """Runs that were replaced."""
        return self.own / "archive"

    @property
    def new(self) -> Path:
        """Runs that are being created, until they are renamed to their slugs."""
        return self.own / "new"

    @property
    def deleted(self) -> Path:
        """Runs that are being removed."""
        return self.own / "deleted"

    @property
    def templates(self) -> Path:
        """Saved settings."""
        return self.own / "templates"

    @property
    def queue(self) -> Path:
        """The tickets of runs that wait for a device."""
        return self.own / "queue"

    @property
    def locks(self) -> Path:
        """Locks on names whose folder may not exist yet."""
        return self.own / "locks"

    def run(self, slug: str) -> RunPaths:
        """Return the paths of a run, whether it exists or not.

        Raises:
            SessionNotFound: If the name cannot be a run's.
        """
        if not is_run_name(slug):
            raise SessionNotFound(f"There is no run called “{slug[:40].encode('utf-8', 'replace').decode()}”.")
        return RunPaths(self.root / slug)

    def runs(self) -> Iterator[RunPaths]:
        """Yield every folder with a ui_state.json, whatever kind of file it is, and those that cannot be read, unordered.

        Raises:
            OSError: If outputs itself cannot be read.
        """
        try:
            folders = list(self.root.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return
        for folder in folders:
            if is_run_name(folder.name) and _may_hold_a_state(folder):
                yield RunPaths(folder)


def is_run_name(name: str) -> bool:
    """Return True if a folder of outputs/ with this name can be a run: visible, without slashes, and valid Unicode."""
    if not name or name[0] == "." or name == "lost+found" or not set(name).isdisjoint("/\\\0"):
        return False
    return len(name) <= MAX_NAME_BYTES if name.isascii() else _is_short_text(name)


def _is_short_text(name: str) -> bool:
    data = name.encode("utf-8", "replace")
    return len(data) <= MAX_NAME_BYTES and data.decode() == name


def _may_hold_a_state(folder: Path) -> bool:
    try:
        os.lstat(f"{folder}/{UI_STATE}")
    except PermissionError:
        return True  # its row in the list shows the error
    except OSError:
        return False
    return True  # a link, a folder or a named pipe, too: its row says so and offers Repair
