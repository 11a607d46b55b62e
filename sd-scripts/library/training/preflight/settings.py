"""The check of a training's settings and small files, which needs neither PyTorch nor a model and takes milliseconds."""

from collections.abc import Sequence
from dataclasses import dataclass

from library.config import TrainerConfig
from library.data.dataset_toml import read_datasets
from library.data.schema import Dataset
from library.sample_prompts import SamplePrompt, read_prompts
from library.training.preflight.files import check_log_files, check_target, check_weight_files
from library.training.preflight.network import check_network
from library.training.trackers import check_trackers


@dataclass(frozen=True, kw_only=True)
class CheckedSettings:
    """A configuration that was checked, what its small files hold, and warnings about their keys without effect."""

    config: TrainerConfig
    prompts: Sequence[SamplePrompt]
    datasets: Sequence[Dataset]
    warnings: Sequence[str]


def check_settings(config: TrainerConfig) -> CheckedSettings:
    """Refuse network, sample prompts, data sets, trackers, log files and output that cannot be used.

    Raises:
        TrainerError: Naming the flag or the file.
    """
    check_network(config)
    check_weight_files(config.network)
    check_target(config.save)
    check_trackers(config.log)
    check_log_files(config.log)
    prompts = read_prompts(config.sample.sample_prompts) if config.sample.sample_prompts else []
    warnings: list[str] = []
    datasets = read_datasets(config.data, warnings.append)
    return CheckedSettings(config=config, prompts=prompts, datasets=datasets, warnings=warnings)
