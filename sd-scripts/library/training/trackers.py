"""Metrics for TensorBoard and wandb, under kohya's names.

A resumed training continues in the folder and the run that its checkpoint names; TensorBoard discards the values that a killed attempt logged
after that checkpoint.
"""

import json
import os
import time
import tomllib
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from library.config import LogConfig
from library.errors import TrainerError
from library.files import disk_errors

DEFAULT_NAME = "network_train"
WANDB_KEY = "WANDB_API_KEY"
TRACKERS = ("tensorboard", "wandb")
PRIVATE = ("_dir", "_file", "_path", "_weights", "_config", "_name_or_path", "clip_l", "t5xxl", "ae", "vae", "resume", "sample_prompts")


class Tracker(Protocol):
    """A destination of metrics."""

    def log(self, values: Mapping[str, float], *, x: int, step: int, epoch: int) -> None:
        """Log values by name at x: the step, or the epoch for the values of an epoch."""

    def close(self) -> None:
        """Write buffered values and close."""


class Trackers:
    """All configured trackers; a checkpoint records `log_folder`, and a resumed training passes it again.

    With --log_config, the flags in `given` are logged too, without paths and keys.
    """

    def __init__(self, config: LogConfig, given: Mapping[str, Any], *, log_folder: str, step: int) -> None:
        kinds, options = _kinds(config), _options(config)
        settings = public_settings(given) if config.log_config else None
        logging_dir = config.logging_dir
        self.log_folder = _log_folder(logging_dir, config.log_prefix, log_folder) if kinds and logging_dir else ""
        self._trackers: list[Tracker] = []
        if "tensorboard" in kinds and logging_dir:  # _kinds raises if it is missing
            folder = logging_dir / self.log_folder / (config.log_tracker_name or DEFAULT_NAME)
            self._trackers.append(_TensorBoard(folder, settings, step, options.get("tensorboard", {})))
        if "wandb" in kinds:
            self._trackers.append(_Wandb(_wandb_options(config, self.log_folder) | {"config": settings} | options.get("wandb", {})))

    def log_step(self, *, loss: float, average: float, rates: Mapping[str, float], step: int, epoch: int) -> None:
        """Log the loss, the average loss and the learning rates of a step under kohya's names."""
        values = {"loss/current": loss, "loss/average": average} | {f"lr/{name}": rate for name, rate in rates.items()}
        self.log(values, x=step, step=step, epoch=epoch)

    def log(self, values: Mapping[str, float], *, x: int, step: int, epoch: int) -> None:
        """Log values by name at x: the step, or the epoch for the values of an epoch."""
        for tracker in self._trackers:
            tracker.log(values, x=x, step=step, epoch=epoch)

    def close(self) -> None:
        """Write buffered values and close."""
        for tracker in self._trackers:
            tracker.close()


def _log_folder(logging_dir: Path, prefix: str, log_folder: str) -> str:
    """Create the run's folder in --logging_dir and return its name: the checkpoint's if it exists, else a new one in kohya's format."""
    recorded = Path(log_folder).name
    name = recorded if recorded and (logging_dir / recorded).is_dir() else prefix + time.strftime("%Y%m%d%H%M%S")
    with disk_errors(logging_dir):
        (logging_dir / name).mkdir(parents=True, exist_ok=True)
    return name


class _TensorBoard:
    def __init__(self, folder: Path, settings: dict[str, Any] | None, step: int, options: dict[str, Any]) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter  # the import takes a second
        except ImportError as error:
            raise TrainerError(f"--log_with tensorboard cannot be used ({error}); run `pip install tensorboard`.") from None
        with disk_errors(folder):
            self._writer = SummaryWriter(str(folder), **({"purge_step": step + 1 if step else None} | options))
            if settings is not None:
                self._writer.add_text("config", f"```\n{json.dumps(settings, indent=1)}\n```", step)

    def log(self, values: Mapping[str, float], *, x: int, step: int, epoch: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, x)

    def close(self) -> None:
        self._writer.close()


class _Wandb:
    def __init__(self, options: dict[str, Any]) -> None:
        try:
            import wandb
        except ImportError:
            raise TrainerError("--log_with wandb cannot be used: the package is not installed; run `pip install wandb`.") from None
        try:
            self._run = wandb.init(**options)
        except Exception as error:  # versions of wandb raise different kinds  # noqa: BLE001
            raise TrainerError(_wandb_refusal(error)) from None
        for name in ("epoch", "val_step", "global_step"):
            self._run.define_metric(name, hidden=True)

    def log(self, values: Mapping[str, float], *, x: int, step: int, epoch: int) -> None:
        self._run.log({**values, "global_step": step, "epoch": epoch})

    def close(self) -> None:
        self._run.finish()


def _wandb_refusal(error: Exception) -> str:
    """Return why wandb cannot be used, without its key."""
    key = os.environ.get(WANDB_KEY)
    message = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
    message = message.replace(key, "…") if key else message
    missing = (
        f" {WANDB_KEY} is not set in the process that started this training; start the app, and the queue's process, with it."
        if not key
        else ""
    )
    return f"--log_with wandb cannot be used: {message}.{missing} Or run `wandb login`, or leave log_with out."


def _wandb_options(config: LogConfig, log_folder: str) -> dict[str, Any]:
    options: dict[str, Any] = {"project": config.log_tracker_name or DEFAULT_NAME}
    if config.wandb_run_name:
        options["name"] = config.wandb_run_name
    if log_folder and config.logging_dir:
        options |= {"dir": str(config.logging_dir / log_folder), "id": log_folder, "resume": "allow"}  # a resume continues the same run
    return options


def check_trackers(config: LogConfig) -> None:
    """Raise TrainerError if a configured tracker cannot be created."""
    _options(config)
    for kind in _kinds(config):
        if find_spec(kind) is None:
            raise TrainerError(f"--log_with {kind} cannot be used: the package is not installed; run `pip install {kind}`.")


def _kinds(config: LogConfig) -> tuple[str, ...]:
    """Return the names of the trackers; --logging_dir alone means TensorBoard, as in kohya.

    Raises:
        TrainerError: If its folder is missing.
    """
    if config.log_with is None:
        return ("tensorboard",) if config.logging_dir else ()
    kinds = TRACKERS if config.log_with == "all" else (config.log_with,)
    if "tensorboard" in kinds and not config.logging_dir:
        raise TrainerError(f"--log_with {config.log_with} needs --logging_dir, the folder that TensorBoard shows.")
    return kinds


def _options(config: LogConfig) -> dict[str, dict[str, Any]]:
    """Read --log_tracker_config, a TOML file with one table per tracker.

    Raises:
        TrainerError: If it is malformed.
    """
    path = config.log_tracker_config
    if path is None:
        return {}
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise TrainerError(f"--log_tracker_config {path} cannot be read: {error}.") from None
    if unknown := [name for name, table in tables.items() if name not in TRACKERS or not isinstance(table, dict)]:
        raise TrainerError(f"--log_tracker_config {path}: [{unknown[0]}] is not a tracker; use [tensorboard] and [wandb].")
    return tables


def public_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flags without paths and keys, for --log_config."""
    public = {
        name: value for name, value in given.items() if not name.endswith(PRIVATE) and "key" not in name and "token" not in name.split("_")
    }
    return {name: value if isinstance(value, (bool, int, float, str, type(None))) else str(value) for name, value in public.items()}
