"""One look at a run, from which all that is said of it is derived: each of its files is read once, when it is first asked for."""

from functools import cached_property
from typing import Any

from fluxgym.contract.progress import Line
from fluxgym.runs.exit_record import ExitRecord, read_exit
from fluxgym.runs.files import read_json
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.process_identity import ProcessRecord, read_pid, read_record
from fluxgym.runs.progress import read_end
from fluxgym.runs.state import State


class RunSnapshot:
    """What a run's files hold at this look; `state` is what its ui_state.json does."""

    def __init__(self, run: RunPaths, state: State) -> None:
        self.run, self.state = run, state

    @cached_property
    def record(self) -> ProcessRecord | None:
        """Its processes, as their supervisor recorded them."""
        return read_record(self.run)

    @cached_property
    def end(self) -> ExitRecord | None:
        """How its last attempt ended."""
        return read_exit(self.run)

    @cached_property
    def training_pid(self) -> int | None:
        """What training.pid holds."""
        return read_pid(self.run.training_pid)

    @cached_property
    def monitor_pid(self) -> int | None:
        """What monitor.pid holds."""
        return read_pid(self.run.monitor_pid)

    @cached_property
    def launch_attempt(self) -> int:
        """The attempt that was ordered last, 0 when no order of this start can be read."""
        order: Any = read_json(self.run.launch)
        known = isinstance(order, dict) and order.get("run_id") == self.state.get("run_id")
        return order["attempt"] if known and type(order.get("attempt")) is int else 0

    @cached_property
    def ordered_at(self) -> float:
        """When it was ordered, by the disk's clock; 0 when nobody knows."""
        try:
            return self.run.launch.stat().st_mtime
        except OSError:
            return 0.0

    @cached_property
    def last_lines(self) -> tuple[Line | None, Line | None]:
        """The trainer's last word, and its last that carries a loss."""
        return read_end(self.run.progress)
