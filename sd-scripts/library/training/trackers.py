"""Curves for TensorBoard and wandb, under the names that kohya's trainer gives them.

Owns --log_with, --logging_dir and what belongs to them. A resumed training writes on into the folder and the run that its checkpoint names, and
TensorBoard forgets what a killed attempt wrote beyond that checkpoint.
"""

import json
import time
import tomllib
from argparse import Namespace
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from library.errors import TrainerError
from library.files import disk_errors

DEFAULT_NAME = "network_train"
PRIVATE = ("_dir", "_file", "_path", "_weights", "_config", "_name_or_path", "clip_l", "t5xxl", "ae", "vae", "resume", "sample_prompts")


class Tracker(Protocol):
    """Takes numbers under names, and settles them when the training ends."""

    def log(self, values: Mapping[str, float], *, x: int, step: int, epoch: int) -> None:
        """Write values at x, which is the step, or the epoch for values of epochs."""

    def close(self) -> None:
        """Write out what is left."""


class Trackers:
    """Those that the flags ask for; none is well too. `log_folder` is what a checkpoint has to remember."""

    def __init__(self, args: Namespace, *, log_folder: str, step: int) -> None:
        kinds = _kinds(args)
        self.log_folder = ""
        self._trackers: list[Tracker] = []
        if not kinds:
            return
        folder = self._folder(args, log_folder) if args.logging_dir else None
        options = _options(args)
        if "tensorboard" in kinds:
            self._trackers.append(
                _TensorBoard(folder / (args.log_tracker_name or DEFAULT_NAME), args, step, options.get("tensorboard", {}))
            )
        if "wandb" in kinds:
            self._trackers.append(_Wandb(folder, args, self.log_folder, options.get("wandb", {})))

    def _folder(self, args: Namespace, log_folder: str) -> Path:
        """Return the run's folder: the one that the checkpoint names if it is still there, else a new one with kohya's name."""
        root = Path(args.logging_dir)
        known = bool(log_folder) and (root / Path(log_folder).name).is_dir()
        self.log_folder = Path(log_folder).name if known else (args.log_prefix or "") + time.strftime("%Y%m%d%H%M%S")
        with disk_errors(root):
            (root / self.log_folder).mkdir(parents=True, exist_ok=True)
        return root / self.log_folder

    def log_step(self, *, loss: float, average: float, rates: Mapping[str, float], step: int, epoch: int) -> None:
        """Write what kohya writes after a step."""
        values = {"loss/current": loss, "loss/average": average} | {f"lr/{name}": rate for name, rate in rates.items()}
        self.log(values, x=step, step=step, epoch=epoch)

    def log(self, values: Mapping[str, float], *, x: int, step: int, epoch: int) -> None:
        """Write values of any name at x."""
        for tracker in self._trackers:
            tracker.log(values, x=x, step=step, epoch=epoch)

    def close(self) -> None:
        """Write out what is left."""
        for tracker in self._trackers:
            tracker.close()


class _TensorBoard:
    def __init__(self, folder: Path, args: Namespace, step: int, options: dict[str, Any]) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter  # takes a second: only when asked for
        except ImportError as error:
            raise TrainerError(f"--log_with tensorboard cannot be used ({error}); run `pip install tensorboard`.") from None
        with disk_errors(folder):
            self._writer = SummaryWriter(str(folder), **({"purge_step": step + 1 if step else None} | options))
            if args.log_config:
                self._writer.add_text("config", f"```\n{json.dumps(public_settings(args), indent=1)}\n```", step)

    def log(self, values: Mapping[str, float], *, x: int, step: int, epoch: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, x)

    def close(self) -> None:
        self._writer.close()


class _Wandb:
    def __init__(self, folder: Path | None, args: Namespace, log_folder: str, options: dict[str, Any]) -> None:
        try:
            import wandb
        except ImportError:
            raise TrainerError("--log_with wandb cannot be used: the package is not installed; run `pip install wandb`.") from None
        given: dict[str, Any] = {
            "project": args.log_tracker_name or DEFAULT_NAME,
            "name": args.wandb_run_name,
            "dir": folder and str(folder),
        }
        if log_folder:
            given |= {"id": log_folder, "resume": "allow"}  # the same run after a resume
        config = public_settings(args) if args.log_config else None
        self._run = wandb.init(**({**{name: value for name, value in given.items() if value}, "config": config} | options))
        for name in ("epoch", "val_step", "global_step"):
            self._run.define_metric(name, hidden=True)

    def log(self, values: Mapping[str, float], *, x: int, step: int, epoch: int) -> None:
        self._run.log({**values, "global_step": step, "epoch": epoch})

    def close(self) -> None:
        self._run.finish()


def check_trackers(args: Namespace) -> None:
    """Raise TrainerError for trackers that could not be made, without making any."""
    _options(args)
    for kind in _kinds(args):
        if find_spec(kind) is None:
            raise TrainerError(f"--log_with {kind} cannot be used: the package is not installed; run `pip install {kind}`.")


def _kinds(args: Namespace) -> tuple[str, ...]:
    """Return the trackers that are wanted: --logging_dir alone means TensorBoard, as in kohya. Raises TrainerError when its folder is missing."""
    kinds = {"all": ("tensorboard", "wandb"), None: ("tensorboard",) if args.logging_dir else ()}.get(args.log_with, (args.log_with,))
    if "tensorboard" in kinds and not args.logging_dir:
        raise TrainerError(f"--log_with {args.log_with} needs --logging_dir, the folder that TensorBoard is to show.")
    return kinds


def _options(args: Namespace) -> dict[str, dict[str, Any]]:
    """Read --log_tracker_config, a TOML file with a table for each tracker; raises TrainerError when it is none."""
    if not args.log_tracker_config:
        return {}
    try:
        found = tomllib.loads(Path(args.log_tracker_config).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainerError(f"--log_tracker_config {args.log_tracker_config} cannot be read: {error}.") from None
    if odd := [name for name, table in found.items() if name not in ("tensorboard", "wandb") or not isinstance(table, dict)]:
        raise TrainerError(f"--log_tracker_config {args.log_tracker_config}: [{odd[0]}] is no tracker; use [tensorboard] and [wandb].")
    return found


def public_settings(args: Namespace) -> dict[str, Any]:
    """Return the flags without paths and keys, for --log_config."""
    told = {
        name: value
        for name, value in vars(args).items()
        if not name.endswith(PRIVATE) and "key" not in name and "token" not in name.split("_")
    }
    return {name: value if isinstance(value, (bool, int, float, str, type(None))) else str(value) for name, value in told.items()}
