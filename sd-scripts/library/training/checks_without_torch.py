"""The checks of a training's settings and of its small files that need neither PyTorch nor a model."""

import tempfile
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

from fluxgym.contract.files import lora_name
from library.config import NetworkConfig, SaveConfig, TrainerConfig
from library.data.dataset_toml import read_datasets
from library.errors import TrainerError
from library.sample_prompts import read_prompts
from library.training.trackers import check_trackers
from library.weights.header import read_weight_header
from networks.network_checks import check_network


def check_without_torch(config: TrainerConfig) -> None:
    """Refuse network, sample prompts, data sets, trackers, log folders and output that cannot be used; takes milliseconds.

    Raises:
        TrainerError: Naming the flag or the file.
    """
    check_network(config)
    _check_weight_files(config.network)
    _check_target(config.save)
    check_trackers(config.log)
    if config.log.logging_dir:
        _check_writable(config.log.logging_dir, f"--logging_dir {config.log.logging_dir}")
    if config.log.console_log_file:
        _check_writable(config.log.console_log_file.parent, f"--console_log_file {config.log.console_log_file}")
    if config.sample.sample_prompts:
        read_prompts(config.sample.sample_prompts)
    with redirect_stderr(StringIO()):  # its warnings are printed when the images are listed
        read_datasets(config.data)


def _check_writable(folder: Path, what: str) -> None:
    """Raise TrainerError, calling it `what`, if no file can be created in a folder, or where it would be; nothing is left behind."""
    try:
        existing = next(each for each in (folder, *folder.absolute().parents) if each.exists())
        with tempfile.TemporaryDirectory(prefix="fluxgym-check-", dir=existing):
            pass
    except OSError as error:
        raise TrainerError(f"{what} cannot be written: {error.strerror}; choose another folder.") from None


def _check_target(config: SaveConfig) -> None:
    target = config.output_dir / lora_name(config.output_name)
    if target.is_dir():
        raise TrainerError(f"{target} is a folder, so no LoRA can be saved there; choose another --output_name or --output_dir.")


def _check_weight_files(config: NetworkConfig) -> None:
    named = [("--network_weights", config.network_weights), *(("--base_weights", each.path) for each in config.base_weights)]
    for flag, path in named:
        if path:
            read_weight_header(Path(path), flag)
