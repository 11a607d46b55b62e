"""From a plan to a running supervisor: used by start and by resume."""

import time

from fluxgym.contract.codes import ReasonCode, Status
from fluxgym.engines.registry import engine_of
from fluxgym.errors import FluxGymError
from fluxgym.planning.plan import TrainingPlan
from fluxgym.runs.exit_record import ExitRecord, record_end
from fluxgym.runs.launch_spec import LaunchSpec
from fluxgym.runs.paths import RunPaths


def launch_spec(planned: TrainingPlan, run_id: str, attempt: int, gpus: str | None) -> LaunchSpec:
    """Return what an attempt launches, on the GPUs that the user named ("0,1"), else on any free device."""
    return engine_of(planned.run).devices.assign(planned.launch_spec(run_id, attempt), gpus)


def launch(run: RunPaths, spec: LaunchSpec, verb: str) -> RunPaths:
    """Submit a run to its engine and return it; a failure is written to its state too. `verb` is "started" or "resumed"."""
    try:
        engine_of(run).submit(run, spec)
    except (FluxGymError, OSError) as error:
        reason = f"It could not be {verb}: {error}"
        record_end(
            run,
            ExitRecord(
                run_id=spec.run_id,
                attempt=spec.attempt,
                status=Status.FAILED,
                reason_code=ReasonCode.LAUNCH,
                reason=reason,
                ended_at=time.time(),
            ),
        )
        raise
    return run
