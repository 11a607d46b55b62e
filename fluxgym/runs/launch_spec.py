"""launch.json and stop.json: what the supervisor is told to start, and that it is to stop. No secret is ever in them."""

import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from fluxgym.errors import StorageError
from fluxgym.runs.files import fill, read_json, reserve, write_json
from fluxgym.runs.paths import RunPaths
from fluxgym.trainers.kohya.backend import resume_options

GRACE_S = 60.0


@dataclass(frozen=True, kw_only=True)
class LaunchSpec:
    """One attempt of a run; `env` is what the trainer's environment gets on top of the supervisor's own.

    `devices` are waited for before it starts, with `any_one` for the first of them that is free; none means at once.
    `stall_scale` shrinks the limits of stall detection, for tests.
    A `foreign` trainer is a checkout of kohya's: its progress is read from its output, and its checkpoints are of another kind.
    """

    run_id: str
    attempt: int
    argv: list[str]
    cwd: str
    expected_steps: int | None = None
    monitoring: bool = True
    env: dict[str, str] = field(default_factory=dict)
    devices: list[str] = field(default_factory=list)
    any_one: bool = False
    stall_scale: float = 1.0
    foreign: bool = False

    def again(self, checkpoint: Path | None) -> "LaunchSpec":
        """Return the next attempt of the same run: from a checkpoint's folder, or from where this one began when there is none."""
        argv = list(self.argv)
        if checkpoint is not None:
            given = {"--resume": str(checkpoint)} | (resume_options(Path(self.cwd), checkpoint) if self.foreign else {})
            for name, value in given.items():
                place = argv.index(name) if name in argv else len(argv)
                argv[place : place + 2] = [name, value]
        return replace(self, attempt=self.attempt + 1, argv=argv)


@dataclass(frozen=True, kw_only=True)
class StopRequest:
    """The wish to stop one attempt: SIGTERM, and SIGKILL after grace_s seconds."""

    run_id: str
    attempt: int
    requested_at: float
    grace_s: float = GRACE_S


def write_launch_spec(run: RunPaths, order: LaunchSpec, *, keep_stop: bool = False) -> None:
    """Leave the order for the supervisor and forget an older stop; a restart keeps one that may have come this very moment."""
    write_json(run.launch, asdict(order))
    if not keep_stop:
        clear_stop_request(run)


def clear_stop_request(run: RunPaths) -> None:
    """Forget a wish to stop that was meant for what has ended."""
    run.stop.unlink(missing_ok=True)
    run.stop_reserve.unlink(missing_ok=True)


def read_launch_spec(run: RunPaths) -> LaunchSpec | None:
    """Return the latest order, None when there is none that can be read."""
    value = read_json(run.launch)
    try:
        order = LaunchSpec(**value)
        told = all(isinstance(item, str) for item in (*order.argv, order.run_id, order.cwd, *order.env.values(), *order.devices))
    except (TypeError, AttributeError):
        return None
    return order if told and isinstance(order.argv, list) and isinstance(order.attempt, int) else None


def ran_kohya(run: RunPaths) -> bool:
    """Return True if a run's latest trainer was a checkout of kohya's."""
    order = read_launch_spec(run)
    return order is not None and order.foreign is True


def reserve_stop_request(run: RunPaths) -> None:
    """Take the room that a wish to stop will need."""
    reserve(run.stop_reserve)


def write_stop_request(run: RunPaths, run_id: str, attempt: int, grace_s: float) -> None:
    """Leave the wish to stop; on a full disk in the room that was reserved. Raises StorageError when there is none."""
    stop_request = asdict(StopRequest(run_id=run_id, attempt=attempt, requested_at=time.time(), grace_s=grace_s))
    try:
        write_json(run.stop, stop_request)
    except StorageError:
        fill(run.stop_reserve, json.dumps(stop_request))
    else:
        _blank(run.stop_reserve)


def _blank(room: Path) -> None:
    """Take back an earlier wish that was left in the reserved room; another may have to go there."""
    with suppress(StorageError):
        fill(room, "")


def read_stop_request(run: RunPaths, run_id: str, attempt: int) -> StopRequest | None:
    """Return the wish to stop this attempt or one that followed it without anybody's asking, None when nobody has it."""
    value = read_json(run.stop_reserve) or read_json(run.stop)
    try:
        order = StopRequest(**value)
    except TypeError:
        return None
    usable = isinstance(order.attempt, int) and isinstance(order.grace_s, (int, float))
    return order if usable and order.run_id == run_id and order.attempt >= attempt else None
