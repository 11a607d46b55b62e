"""The interface of engines: an engine starts, stops and observes runs; its queue and its devices have separate interfaces."""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Protocol

from fluxgym.runs.launch_spec import LaunchSpec
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.runs.status import EngineState

CANCELED_REASON = "Canceled by you before it started."
LOST_POSITION = (
    "It has lost its position in the queue. Starting the app or any training puts it at its end; an open app does so within a minute."
)


class Mode(StrEnum):
    """What a submitted supervisor does: a whole run, or only the end of one whose supervisor has died."""

    TRAIN = "train"
    STOP_ONLY = "stop"
    VERIFY_ONLY = "verify"


class HeldDevices(Protocol):
    """Devices that belong to one run until they are released."""

    @property
    def env(self) -> Mapping[str, str]:
        """The environment variables by which the trainer sees only its devices."""

    @property
    def file_descriptors(self) -> tuple[int, ...]:
        """The file descriptors that the trainer inherits, so that its devices stay locked while it is alive."""

    def renew(self) -> None:
        """Show that the devices are still in use. Called every few seconds while they are."""

    def release(self) -> None:
        """Release the devices."""


class Devices(Protocol):
    """The devices of the machines where an engine's runs execute."""

    def names(self) -> tuple[str, ...]:
        """Return the names of the devices of which a run may take any: "cpu", or "gpu-0" and so on."""

    def num_gpus(self) -> int:
        """Return the number of GPUs from which a user can choose."""

    def assign(self, spec: LaunchSpec, gpus: str | None) -> LaunchSpec:
        """Return a launch spec that requests the GPUs that a user named ("0,1"), else any free device."""

    def chosen_gpus(self, spec: LaunchSpec) -> str | None:
        """Return the GPUs that a user named for a launch, None if there was no choice or the engine does not have them."""


class Queue(Protocol):
    """The runs of one outputs folder that wait for devices, in the order in which they get them."""

    def acquire(
        self, run: RunPaths, spec: LaunchSpec, *, is_canceled: Callable[[], bool], waiting: Callable[[str], None]
    ) -> HeldDevices | None:
        """Return the devices of a run, None if it was canceled or has to wait. Called by the supervisor, which ends then.

        Before a run is left waiting, `waiting` is called with what it waits for. The engine starts its supervisor again in its turn.
        """

    def move(self, run: RunPaths, position: int) -> None:
        """Move a waiting run to a position in the queue, 1 is next.

        Raises:
            SessionError: If it does not wait.
        """

    def slugs(self) -> tuple[str, ...]:
        """Return the slugs of the runs that wait, the next first."""

    def without_position(self) -> tuple[str, ...]:
        """Return the slugs of the runs that wait but have lost their position, in the order in which they were queued."""

    def reasons(self) -> Mapping[str, str]:
        """Return what each waiting run waits for now, by slug, the next run first."""

    def waiting_since(self, run: RunPaths) -> float | None:
        """Return when a run began to wait, in seconds since the epoch, None if it does not wait."""

    def abandoned(self) -> tuple[str, ...]:
        """Return the slugs of the waiting runs that nothing would start any more, the next first."""

    def reconcile(self) -> tuple[str, ...]:
        """Make sure that waiting runs are started in their turn, and return the names of those that nothing would have started. Never raises.

        A run whose launch.json this installation did not write is left waiting.
        """


class Engine(Protocol):
    """Where the runs of one outputs folder execute. The files record what happened to a run; only its engine knows whether it still executes."""

    @property
    def queue(self) -> Queue:
        """The runs that wait for devices."""

    @property
    def devices(self) -> Devices:
        """The devices that runs can request."""

    def submit(self, run: RunPaths, spec: LaunchSpec, mode: Mode = Mode.TRAIN) -> None:
        """Start a supervisor, unless one is alive for this attempt, and return once it has recorded itself or has ended.

        Raises:
            LaunchError: If it does neither.
        """

    def cancel(self, run: RunPaths, *, grace_s: float) -> bool:
        """Request a stop and return at once; False if nothing of the run is alive or waiting. A dead supervisor is replaced.

        The trainer may save its state for grace_s seconds; 0 stops it at once.
        """

    def observe(self, snapshots: Sequence[RunSnapshot]) -> Mapping[str, EngineState]:
        """Return the state of each run, by slug. Writes nothing."""

    def orphans(self, runs: Sequence[RunPaths]) -> Mapping[str, str]:
        """Return the processes that belong to a run's folder, independent of its records, as slug -> description."""
