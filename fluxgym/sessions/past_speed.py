"""The speed of trainings that were completed on this machine, from which the time of the next one is estimated."""

import threading
from dataclasses import dataclass
from statistics import median
from time import monotonic
from typing import Any

from fluxgym.config.settings import TrainConfig
from fluxgym.contract.codes import Status
from fluxgym.engines.base import Engine
from fluxgym.errors import FluxGymError
from fluxgym.planning.plan import TrainingPlan
from fluxgym.runs.paths import OutputsPaths
from fluxgym.runs.process_identity import Liveness, liveness_of
from fluxgym.runs.progress import duration_text
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.sessions.index import Entry, SessionIndex

MAX_RUNS = 20  # the newest ones of a base model
UNKNOWN = "The time is not known before the first steps: no training with this model, resolution and batch size was completed here."
REFRESH_S = 10.0  # an edit of the form does not list the runs again


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """The conditions on which the speed of a step depends; device is "cpu" or "gpu"."""

    base_model: str
    vram: str
    resolution: int
    batch_size: int
    accumulation: int
    device: str

    @classmethod
    def of(cls, config: TrainConfig, device: str) -> "Conditions":
        """Return the conditions of a training."""
        return cls(
            base_model=config.base_model,
            vram=config.vram,
            resolution=config.resolution,
            batch_size=int(config.advanced.get("train_batch_size") or 1),
            accumulation=int(config.advanced.get("gradient_accumulation_steps") or 1),
            device=device,
        )


@dataclass(frozen=True, kw_only=True)
class PastSpeed:
    """The median speed of num_runs earlier runs under the same conditions."""

    seconds_per_step: float
    num_runs: int


@dataclass(frozen=True, kw_only=True)
class TimeEstimate:
    """How long the steps of a training take, as "about 21 min", "" if unknown; note names the basis."""

    time: str
    note: str


@dataclass(frozen=True)
class _Measured:
    conditions: Conditions
    seconds_per_step: float


def device_kind(engine: Engine) -> str:
    """Return the kind of device that runs of an engine train on: "cpu" or "gpu"."""
    return engine.devices.names()[0].partition("-")[0]


class PastSpeeds:
    """The speeds of the completed runs of one outputs folder; each run is read once. Thread-safe."""

    def __init__(self, outputs: OutputsPaths, index: SessionIndex) -> None:
        self._outputs, self._index = outputs, index
        self._entries: list[Entry] = []
        self._listed_at = float("-inf")
        self._cached: dict[str, tuple[Entry, _Measured | None]] = {}
        self._lock = threading.Lock()

    def of(self, config: TrainConfig, device: str) -> PastSpeed | None:
        """Return the speed of earlier runs like this one, None if there is none."""
        with self._lock:
            wanted = Conditions.of(config, device)
            runs = [self._measured(entry) for entry in self._completed(config.base_model)]
        speeds = [run.seconds_per_step for run in runs if run is not None and run.conditions == wanted]
        return PastSpeed(seconds_per_step=median(speeds), num_runs=len(speeds)) if speeds else None

    def estimate(self, planned: TrainingPlan, device: str) -> TimeEstimate:
        """Return the time of a plan's steps; that of a training that starts from a checkpoint is unknown, as fewer steps remain."""
        if not planned.steps or planned.config.resume_from_checkpoint.strip():
            return TimeEstimate(time="", note="")
        speed = self.of(planned.config, device)
        if speed is None:
            return TimeEstimate(time="", note=UNKNOWN)
        runs = "an earlier run" if speed.num_runs == 1 else f"{speed.num_runs} earlier runs"
        note = f"At the speed of {runs} with these settings; loading, samples and saving add to it."
        return TimeEstimate(time=f"about {duration_text(planned.steps * speed.seconds_per_step)}", note=note)

    def _completed(self, base_model: str) -> list[Entry]:
        if monotonic() - self._listed_at > REFRESH_S:
            try:
                self._entries = self._index.entries()
            except FluxGymError:
                return []
            self._listed_at = monotonic()
        return [entry for entry in self._entries if entry.status is Status.COMPLETED and entry.base_model == base_model][:MAX_RUNS]

    def _measured(self, entry: Entry) -> _Measured | None:
        cached = self._cached.get(entry.slug)
        if cached is None or cached[0] is not entry:
            cached = self._cached[entry.slug] = (entry, _measure(RunSnapshot.read(self._outputs.run(entry.slug))))
        return cached[1]


def _measure(snapshot: RunSnapshot) -> _Measured | None:
    """Return the speed of a run, None if it was trained on another machine or if its speed or conditions are not known."""
    record, spec = snapshot.process_record, snapshot.launch_spec
    speed: Any = (snapshot.last_lines[1] or {}).get("s_per_it")
    if record is None or record.trainer is None or spec is None or not isinstance(speed, (int, float)) or speed <= 0:
        return None
    if liveness_of(record.trainer) is Liveness.OTHER_HOST:
        return None
    try:
        config = TrainConfig.from_state(snapshot.state)
        return _Measured(Conditions.of(config, spec.devices.kind), float(speed))
    except (FluxGymError, TypeError, ValueError):
        return None
