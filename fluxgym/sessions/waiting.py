"""Start the dispatcher for waiting runs that nothing would start.

Only a launch.json that this installation signed is executed. If an earlier version or another installation wrote it, a new one is
written first: from the run's settings, with this app's trainer, models and Python. The old file provides only the attempt, the name of
the checkpoint and the GPUs.
"""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from fluxgym.app_settings import Settings
from fluxgym.contract.codes import ReasonCode, Status
from fluxgym.engines.base import Queue
from fluxgym.engines.registry import engine_for, engine_of, status_of
from fluxgym.errors import FluxGymError, describe_error
from fluxgym.planning.plan import TrainingPlan, plan
from fluxgym.runs.atomic_files import write_text
from fluxgym.runs.checkpoints import Checkpoint, newest_verified
from fluxgym.runs.exit_record import ExitRecord, record_end
from fluxgym.runs.launch_spec import LaunchSpec, read_launch_spec, read_own_launch_spec, write_launch_spec
from fluxgym.runs.paths import OutputsPaths, RunPaths
from fluxgym.runs.state import State, read_state
from fluxgym.sessions.launch import launch_spec
from fluxgym.sessions.preconditions import name_lock
from fluxgym.trainers.base import backend_for
from fluxgym.trainers.named_code import named_code
from fluxgym.trainers.options import train_sh

NEEDS_A_CLICK = "It waited in the queue, but this installation did not start it, and it {code}. Start or resume it yourself if you know that it is safe."
NOT_PREPARED = "It waited in the queue, and it could not be prepared again: {error}"
RETRY_S = 30.0
log = logging.getLogger(__name__)


def restart_waiting(settings: Settings) -> tuple[str, ...]:
    """Make sure that waiting runs are started in queue order, and return the names of those that nothing would have started. Never raises."""
    return _restart(settings, engine_for(OutputsPaths(settings.outputs)).queue)


def _restart(settings: Settings, queue: Queue) -> tuple[str, ...]:
    outputs = OutputsPaths(settings.outputs)
    try:
        abandoned = queue.abandoned()
    except Exception as error:  # whatever it is, the thread of the app that calls this goes on  # noqa: BLE001
        log.warning("the queue cannot be read now: %s", describe_error(error))
        return ()
    for slug in abandoned:
        try:
            with name_lock(outputs, slug):
                _prepare(outputs.run(slug), settings)
        except Exception as error:  # the others are prepared all the same  # noqa: BLE001
            log.warning("%s, which waits in the queue, could not be prepared: %s", slug, describe_error(error))
    return queue.reconcile()


def keep_restarting_waiting(settings: Settings) -> None:
    """Make sure that waiting runs are started while the app is open.

    The dispatcher may die, and another host whose runs wait here may have ended: a container that was replaced is one.
    """
    queue = engine_for(OutputsPaths(settings.outputs)).queue  # the same one each time: it reads only what has changed
    while True:
        _restart(settings, queue)
        time.sleep(RETRY_S)


def _prepare(run: RunPaths, settings: Settings) -> None:
    """Write a launch.json of our own for a waiting run without one, or end its wait with the reason."""
    spec = read_launch_spec(run)
    if spec is None or read_own_launch_spec(run) is not None:
        return
    state = read_state(run)
    if spec.run_id != state.get("run_id") or status_of(run, state).status is not Status.QUEUED:
        return
    try:
        planned = _plan_again(run, spec, state, settings)
    except FluxGymError as error:
        _end(run, spec, Status.FAILED, ReasonCode.LAUNCH, NOT_PREPARED.format(error=error))
        return
    own = launch_spec(planned, spec.run_id, max(1, spec.attempt), engine_of(run).devices.chosen_gpus(spec))
    if code := named_code(own):
        _end(run, own, Status.STOPPED, ReasonCode.INTERRUPTED, NEEDS_A_CLICK.format(code=_listed(code)))
        return
    for path, text in (
        (run.dataset_toml, planned.dataset_toml),
        (run.sample_prompts, planned.sample_prompts),
        (run.train_sh, train_sh(own.argv)),
    ):
        write_text(path, text)
    write_launch_spec(run, own, keep_stop=True)


def _plan_again(run: RunPaths, spec: LaunchSpec, state: State, settings: Settings) -> TrainingPlan:
    """Return the plan of a waiting run; for a resume, the plan starts from its checkpoint.

    Raises:
        FluxGymError: The first error of the plan.
    """
    checkpoint = None if spec.attempt == 1 else _checkpoint(run, spec, settings)
    planned = plan(state, run.dataset, settings, run=run, resume=checkpoint)
    planned.raise_error()
    return planned if checkpoint is not None else planned.with_named_checkpoint()


def _checkpoint(run: RunPaths, spec: LaunchSpec, settings: Settings) -> Checkpoint | None:
    """Return the run's checkpoint that launch.json names, else the newest complete one, None if there is none."""
    backend = backend_for(settings.sd_scripts)
    named = None if spec.resume_from is None else run.checkpoint(Path(spec.resume_from).name)
    chosen = None if named is None else backend.read_checkpoint(named, verify=True)
    return chosen or newest_verified(run, backend)


def _listed(code: Sequence[str]) -> str:
    return " and ".join(code)


def _end(run: RunPaths, spec: LaunchSpec, status: Status, code: ReasonCode, reason: str) -> None:
    ended_at = time.time()
    record_end(run, ExitRecord(run_id=spec.run_id, attempt=spec.attempt, status=status, reason_code=code, reason=reason, ended_at=ended_at))
