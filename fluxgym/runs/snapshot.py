"""A snapshot of a run's files. Each file is read once, when it is first needed."""

from functools import cached_property
from pathlib import Path
from typing import Self

from fluxgym.contract.codes import Status
from fluxgym.contract.lease import read_lease
from fluxgym.contract.progress import Line, is_number
from fluxgym.runs.exit_record import ExitRecord, read_exit
from fluxgym.runs.launch_spec import LaunchSpec, read_launch_spec, read_own_launch_spec
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.process_identity import ProcessRecord, read_pid, read_record
from fluxgym.runs.progress import read_end
from fluxgym.runs.state import State, read_state_or_empty
from fluxgym.runs.ticket import read_ticket

WAITING = frozenset({Status.STARTING, Status.QUEUED})  # stored statuses of a run with a ticket: writing the second may have failed


class RunSnapshot:
    """What a run's files contain; state is the content of its ui_state.json."""

    def __init__(self, run: RunPaths, state: State) -> None:
        self.run, self.state = run, state

    @classmethod
    def read(cls, run: RunPaths) -> Self:
        """Return the snapshot of a run; its state is empty if it cannot be read."""
        return cls(run, read_state_or_empty(run))

    @cached_property
    def process_record(self) -> ProcessRecord | None:
        """The run's processes, as their supervisor recorded them."""
        return read_record(self.run)

    @cached_property
    def exit_record(self) -> ExitRecord | None:
        """How the last attempt ended."""
        return read_exit(self.run)

    @cached_property
    def latest_launch(self) -> LaunchSpec | None:
        """What launch.json contains, whichever start it is of; None if it is missing or damaged."""
        return read_launch_spec(self.run)

    @cached_property
    def launch_spec(self) -> LaunchSpec | None:
        """The attempt that was launched last, None if launch.json is missing or damaged, or belongs to another start."""
        spec = self.latest_launch
        return spec if spec is not None and spec.run_id == self.state.get("run_id") else None

    @cached_property
    def launched_at(self) -> float:
        """When launch.json was written, by the clock of its disk; 0 if it is missing."""
        return _modified_at(self.run.launch)

    @cached_property
    def training_pid(self) -> int | None:
        """The content of training.pid."""
        return read_pid(self.run.training_pid)

    @cached_property
    def monitor_pid(self) -> int | None:
        """The content of monitor.pid."""
        return read_pid(self.run.monitor_pid)

    @cached_property
    def is_queued(self) -> bool:
        """True if this start of the run has a ticket in the queue and its trainer was not started."""
        ticket = read_ticket(self.run) if str(self.state.get("status")) in WAITING else None
        return ticket is not None and ticket.run_id == self.state.get("run_id", ticket.run_id)

    @cached_property
    def has_lost_ticket(self) -> bool:
        """True if this start waited, never had a trainer, and has no valid ticket any more, so that it can join the queue again as it is.

        Its ticket was removed or damaged, perhaps by an app of an earlier version, or its folder was moved away and back. A copy of a run's
        folder does not count, nor does a folder that its command does not name: it was renamed.
        """
        if str(self.state.get("status")) != Status.QUEUED or self.is_queued or self.training_pid is not None:
            return False
        spec, record = read_own_launch_spec(self.run), self.process_record
        if spec is None or record is None or record.trainer is not None or (record.run_id, record.attempt) != (spec.run_id, spec.attempt):
            return False
        return spec.run_id == self.state.get("run_id") and self._names_folder(spec)

    @property
    def is_moved(self) -> bool:
        """True if the command in launch.json names another folder, because this one was copied or renamed."""
        spec = self.latest_launch
        return spec is not None and bool(spec.argv) and not self._names_folder(spec)

    def _names_folder(self, spec: LaunchSpec) -> bool:
        folders = (str(self.run.folder), str(self.run.folder.resolve()))
        return any(folder in word for word in spec.argv for folder in folders)

    @cached_property
    def has_lora(self) -> bool:
        """True if there is a trained model."""
        return self.run.lora.is_file()

    @cached_property
    def last_lines(self) -> tuple[Line | None, Line | None]:
        """The last line of progress.jsonl, and the last one with a loss."""
        return read_end(self.run.progress)

    @cached_property
    def last_activity(self) -> float:
        """When the run's processes last wrote something, in seconds since the epoch; 0 for never."""
        return max(_modified_at(path) for path in (self.run.progress, self.run.training_log, self.run.monitor_log, self.run.lease))

    @cached_property
    def last_report(self) -> float:
        """The last time that the run's processes wrote into their files, which a copy keeps; last_activity if there is none."""
        lease, line = read_lease(self.run.lease), self.last_lines[0]
        written = [lease.renewed_at] if lease is not None else []
        if line is not None and is_number(line.get("time")):
            written.append(line["time"])
        return max(written, default=self.last_activity)


def _modified_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
