"""The engine of a run or of an outputs folder, and the state and status of one run."""

from collections.abc import Callable, Mapping

from fluxgym.engines.base import Engine
from fluxgym.engines.local import LocalEngine
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.runs.state import State, read_state_or_empty
from fluxgym.runs.status import EXECUTING, EnginePhase, EngineState, SessionStatus, derive_status, is_monitored

ENGINES: Mapping[str, Callable[[OutputsPaths], Engine]] = {"local": LocalEngine}


def engine_for(outputs: OutputsPaths) -> Engine:
    """Return the engine that runs of an outputs folder execute on."""
    return ENGINES["local"](outputs)


def engine_of(run: RunPaths) -> Engine:
    """Return the engine of a run."""
    return engine_for(OutputsPaths(run.folder.parent))


def observe_run(snapshot: RunSnapshot) -> EngineState:
    """Return the state of one run's processes."""
    return engine_of(snapshot.run).observe([snapshot])[snapshot.run.slug]


def status_of(run: RunPaths, state: State) -> SessionStatus:
    """Return the status of a run from its files and its processes; state is the content of its ui_state.json."""
    snapshot = RunSnapshot(run, state)
    return derive_status(snapshot, observe_run(snapshot))


def is_executing(run: RunPaths) -> bool:
    """Return True if a recorded process of a run is alive, independent of its stored status, or if it waits: then nothing else may start in its folder."""
    return observe_run(RunSnapshot(run, read_state_or_empty(run))).phase in (*EXECUTING, EnginePhase.WAITING)


def has_process(snapshot: RunSnapshot) -> bool:
    """Return True if a recorded process of a run is alive."""
    return observe_run(snapshot).phase in EXECUTING


def is_supervised(run: RunPaths) -> bool:
    """Return True if the process in a run's monitor.pid is its live supervisor."""
    snapshot = RunSnapshot(run, {})
    return is_monitored(snapshot, observe_run(snapshot))
