"""Checks of the files that a training reads and writes, by their headers and folders only."""

import tempfile
from pathlib import Path

from fluxgym.contract.files import lora_name
from library.config import LogConfig, NetworkConfig, SaveConfig
from library.errors import TrainerError
from library.weights.header import read_weight_header


def check_log_files(config: LogConfig) -> None:
    """Raise TrainerError if nothing can be written to --logging_dir or beside --console_log_file."""
    if config.logging_dir:
        _check_writable(config.logging_dir, f"--logging_dir {config.logging_dir}")
    if config.console_log_file:
        _check_writable(config.console_log_file.parent, f"--console_log_file {config.console_log_file}")


def _check_writable(folder: Path, what: str) -> None:
    """Raise TrainerError, calling it `what`, if no file can be created in a folder, or where it would be; nothing is left behind."""
    try:
        existing = next(each for each in (folder, *folder.absolute().parents) if each.exists())
        with tempfile.TemporaryDirectory(prefix="fluxgym-check-", dir=existing):
            pass
    except OSError as error:
        raise TrainerError(f"{what} cannot be written: {error.strerror}; choose another folder.") from None


def check_target(config: SaveConfig) -> None:
    """Raise TrainerError if a folder is at the path of the LoRA."""
    target = config.output_dir / lora_name(config.output_name)
    if target.is_dir():
        raise TrainerError(f"{target} is a folder, so no LoRA can be saved there; choose another --output_name or --output_dir.")


def check_weight_files(config: NetworkConfig) -> None:
    """Raise TrainerError if --network_weights or --base_weights name a file that has no readable header."""
    named = [("--network_weights", config.network_weights), *(("--base_weights", each.path) for each in config.base_weights)]
    for flag, path in named:
        if path:
            read_weight_header(Path(path), flag)
