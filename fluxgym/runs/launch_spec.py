"""launch.json and stop.json: what the supervisor starts, and the request to stop it. Neither ever holds a secret."""

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from fluxgym.errors import NotReadableNow, StorageError
from fluxgym.runs.atomic_files import read_json, write_json
from fluxgym.runs.disk_space import reserve, write_reserved
from fluxgym.runs.path_checks import is_missing
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.signature import is_signed, signed
from fluxgym.runs.state import read_state_or_empty

GRACE_S = 60.0
TrainerOptions = Mapping[str, tuple[str, ...] | None]  # flag -> values; None is a switch


@dataclass(frozen=True, kw_only=True)
class DeviceRequest:
    """The devices that a run waits for: all of `ids`, or with any_free the first free one of them. A kind of "" needs no device."""

    kind: str = ""
    ids: tuple[str, ...] = ()
    count: int = 1
    any_free: bool = True

    @classmethod
    def from_names(cls, names: Sequence[str], *, any_free: bool) -> "DeviceRequest":
        """Return the request for devices named as in launch.json and in queue tickets: "cpu", or "gpu-0" and "gpu-1"."""
        kind = names[0].partition("-")[0] if names else ""
        ids = tuple(name.partition("-")[2] for name in names if "-" in name)
        return cls(kind=kind, ids=ids, count=1 if any_free else max(1, len(ids)), any_free=any_free)

    @property
    def names(self) -> tuple[str, ...]:
        """The devices' names, as locks and queue tickets use them."""
        if not self.ids:
            return (self.kind,) if self.kind else ()
        return tuple(f"{self.kind}-{number}" for number in self.ids)


@dataclass(frozen=True, kw_only=True)
class LaunchSpec:
    """One attempt of a run.

    argv is made by `trainers.base.with_command` from options and resume_from, once per attempt, and never edited. env is added to the
    supervisor's own environment. stall_scale multiplies the limits of stall detection, for tests.
    """

    run_id: str
    attempt: int
    trainer_dir: str
    backend: str = "builtin"
    engine: str = "local"
    options: TrainerOptions = field(default_factory=dict)
    resume_from: str | None = None
    argv: tuple[str, ...] = ()
    max_train_epochs: int = 0
    expected_steps: int | None = None
    devices: DeviceRequest = field(default_factory=DeviceRequest)
    monitoring: bool = True
    env: Mapping[str, str] = field(default_factory=dict)
    stall_scale: float = 1.0

    def next_attempt(self, checkpoint: Path | None) -> "LaunchSpec":
        """Return the next attempt, without argv: from a checkpoint folder, or from where this attempt began if there is none."""
        resume_from = self.resume_from if checkpoint is None else str(checkpoint)
        return replace(self, attempt=self.attempt + 1, resume_from=resume_from, argv=())

    def to_json(self) -> dict[str, Any]:
        """Return what launch.json holds; the keys cwd, devices, any_one and foreign are those of earlier versions."""
        value = asdict(self) | {
            "argv": list(self.argv),
            "options": {flag: values and list(values) for flag, values in self.options.items()},
            "devices": list(self.devices.names),
            "any_one": self.devices.any_free,
            "foreign": self.backend != LaunchSpec.backend,
        }
        return {"cwd" if key == "trainer_dir" else key: item for key, item in value.items()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "LaunchSpec":
        """Read launch.json. The argv of an earlier version, which stored no options, is parsed into options.

        Raises:
            KeyError, TypeError, ValueError: If it is damaged.
        """
        argv = _texts(value["argv"])
        parsed = parse_words(argv)
        options = _options(value["options"]) if "options" in value else parsed
        resume_from = value["resume_from"] if "resume_from" in value else _single(parsed, "--resume")
        epochs = value["max_train_epochs"] if "max_train_epochs" in value else _single(parsed, "--max_train_epochs")
        return cls(
            run_id=_text(value["run_id"]),
            attempt=_integer(value["attempt"]),
            trainer_dir=_text(value["cwd"]),
            backend=_text(value.get("backend") or ("kohya" if value.get("foreign") is True else cls.backend)),
            engine=_text(value.get("engine", cls.engine)),
            options=options,
            resume_from=None if resume_from is None else _text(resume_from),
            argv=argv,
            max_train_epochs=int(str(epochs)) if str(epochs).isdecimal() else 0,
            expected_steps=None if value.get("expected_steps") is None else _integer(value["expected_steps"]),
            devices=DeviceRequest.from_names(_texts(value.get("devices", [])), any_free=bool(value.get("any_one", False))),
            monitoring=bool(value.get("monitoring", True)),
            env={_text(name): _text(item) for name, item in dict(value.get("env", {})).items()},
            stall_scale=float(value.get("stall_scale", 1.0)),
        )


def to_words(options: TrainerOptions) -> tuple[str, ...]:
    """Return options as command-line arguments."""
    return tuple(word for flag, values in options.items() for word in (flag, *(values or ())))


def parse_words(words: Sequence[str]) -> TrainerOptions:
    """Return the options in command-line arguments; arguments before the first option are skipped."""
    options: dict[str, tuple[str, ...] | None] = {}
    flag = ""
    for word in words:
        if word.startswith("--"):
            flag = word
            options[flag] = None
        elif flag:
            options[flag] = (*(options[flag] or ()), word)
    return options


def _single(options: TrainerOptions, flag: str) -> str | None:
    values = options.get(flag)
    return values[0] if values else None


def _options(value: Any) -> TrainerOptions:
    return {_text(flag): None if values is None else _texts(values) for flag, values in dict(value).items()}


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError("not a list")
    return tuple(_text(item) for item in value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _integer(value: Any) -> int:
    if not isinstance(value, int):
        raise TypeError("not an integer")
    return value


@dataclass(frozen=True, kw_only=True)
class StopRequest:
    """The request to stop one attempt: SIGTERM, and SIGKILL after grace_s seconds."""

    run_id: str
    attempt: int
    requested_at: float
    grace_s: float = GRACE_S


def write_launch_spec(run: RunPaths, spec: LaunchSpec, *, keep_stop: bool = False) -> None:
    """Write launch.json with this installation's signature and remove an older stop request.

    keep_stop keeps the request, for a restart: it may have arrived at this moment.
    """
    write_json(run.launch, signed(spec.to_json()))
    if not keep_stop:
        clear_stop_request(run)


def clear_stop_request(run: RunPaths) -> None:
    """Remove a stop request that was meant for an attempt that has ended."""
    run.stop.unlink(missing_ok=True)
    run.stop_reserve.unlink(missing_ok=True)


def read_launch_spec(run: RunPaths) -> LaunchSpec | None:
    """Return the latest attempt's spec, None if launch.json is missing or damaged.

    The file may come from elsewhere. Execute only what `read_own_launch_spec` returns.
    """
    return _parse(read_json(run.launch))


def read_own_launch_spec(run: RunPaths) -> LaunchSpec | None:
    """Return the latest attempt's spec if this installation signed it.

    Return None if another installation or an earlier version wrote launch.json, or if it is missing or damaged.
    """
    value = read_json(run.launch)
    return _parse(value) if is_signed(value) else None


def _parse(value: Any) -> LaunchSpec | None:
    try:
        return LaunchSpec.from_json(value)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        return None


def holds_start(run: RunPaths, run_id: str) -> bool:
    """Return True if a folder still holds the start with this run id: it was not removed, moved away or replaced by another start.

    launch.json or ui_state.json has to name the run id. If neither can be read, it is enough that one of them exists.
    """
    try:
        spec, state = read_launch_spec(run), read_state_or_empty(run)
    except NotReadableNow:
        return True  # nothing shows that it was removed
    named = [spec.run_id if spec is not None else None, state.get("run_id")]  # users may have edited them
    if named == [None, None]:
        return not (is_missing(run.launch) and is_missing(run.ui_state))
    return run_id in named


def reserve_stop_request(run: RunPaths) -> None:
    """Reserve the disk space that a stop request needs."""
    reserve(run.stop_reserve)


def write_stop_request(run: RunPaths, run_id: str, attempt: int, grace_s: float) -> None:
    """Write a stop request; on a full disk into the reserved space.

    Raises:
        StorageError: If none was reserved.
    """
    stop_request = asdict(StopRequest(run_id=run_id, attempt=attempt, requested_at=time.time(), grace_s=grace_s))
    try:
        write_json(run.stop, stop_request)
    except StorageError:
        write_reserved(run.stop_reserve, json.dumps(stop_request))
    else:
        _clear_reserve(run.stop_reserve)


def _clear_reserve(path: Path) -> None:
    """Remove an earlier request from the reserved space and keep the space; a later request may need it."""
    with suppress(StorageError):
        write_reserved(path, "")


def read_stop_request(run: RunPaths, run_id: str, attempt: int) -> StopRequest | None:
    """Return the request to stop this attempt or an automatic restart of it, None if there is none."""
    value = read_json(run.stop_reserve) or read_json(run.stop)
    try:
        stop_request = StopRequest(**value)
    except TypeError:
        return None
    usable = isinstance(stop_request.attempt, int) and isinstance(stop_request.grace_s, (int, float))
    return stop_request if usable and stop_request.run_id == run_id and stop_request.attempt >= attempt else None
