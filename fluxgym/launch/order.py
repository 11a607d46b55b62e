"""launch.json and stop.json: what the supervisor is told to start, and that it is to stop. No secret is ever in them."""

import time
from dataclasses import asdict, dataclass, field

from fluxgym.run.atomic import read_json, write_json
from fluxgym.run.paths import RunPaths

GRACE_S = 60.0


@dataclass(frozen=True, kw_only=True)
class LaunchOrder:
    """One attempt of a run; `env` is what the trainer's environment gets on top of the supervisor's own."""

    run_id: str
    attempt: int
    argv: list[str]
    cwd: str
    expected_steps: int | None = None
    monitoring: bool = True
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StopOrder:
    """The wish to stop one attempt: SIGTERM, and SIGKILL after grace_s seconds."""

    run_id: str
    attempt: int
    requested_at: float
    grace_s: float = GRACE_S


def write_launch(run: RunPaths, order: LaunchOrder) -> None:
    """Leave the order for the supervisor and forget an older stop."""
    write_json(run.launch, asdict(order))
    run.stop.unlink(missing_ok=True)


def read_launch(run: RunPaths) -> LaunchOrder | None:
    """Return the latest order, None when there is none that can be read."""
    value = read_json(run.launch)
    try:
        return LaunchOrder(**value)
    except TypeError:
        return None


def write_stop(run: RunPaths, run_id: str, attempt: int, grace_s: float) -> None:
    """Leave the wish to stop."""
    write_json(run.stop, asdict(StopOrder(run_id=run_id, attempt=attempt, requested_at=time.time(), grace_s=grace_s)))


def read_stop(run: RunPaths, run_id: str, attempt: int) -> StopOrder | None:
    """Return the wish to stop this very attempt, None when nobody has it."""
    value = read_json(run.stop)
    try:
        order = StopOrder(**value)
    except TypeError:
        return None
    return order if (order.run_id, order.attempt) == (run_id, attempt) else None
