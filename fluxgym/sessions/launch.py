"""From a plan to a running supervisor: used by start and by resume."""

from fluxgym.contract.codes import ReasonCode, Status
from fluxgym.engines.registry import engine_of
from fluxgym.errors import FluxGymError
from fluxgym.planning.plan import TrainingPlan
from fluxgym.runs.launch_spec import LaunchSpec
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.state import update_state


def launch_spec(planned: TrainingPlan, run_id: str, attempt: int, gpus: str | None) -> LaunchSpec:
    """Return what an attempt launches, on the GPUs that a person named ("0,1"), else on any free device."""
    return engine_of(planned.run).assign(planned.launch_spec(run_id, attempt), gpus)


def launch(run: RunPaths, spec: LaunchSpec, verb: str) -> RunPaths:
    """Submit a run to its engine and return it; a failure is written to its state too. `verb` is "started" or "resumed"."""
    try:
        engine_of(run).submit(run, spec)
    except (FluxGymError, OSError) as error:
        update_state(run, {"status": Status.FAILED, "reason_code": ReasonCode.LAUNCH, "reason": f"It could not be {verb}: {error}"})
        raise
    return run
