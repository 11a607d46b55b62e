"""The checks of a training before anything is loaded, and what they find out: the device, the precision, the sample prompts."""

from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import torch
from torch import nn

from fluxgym.contract.codes import Phase
from fluxgym.contract.files import lora_name
from library.config import MixedPrecision, TrainerConfig
from library.errors import TrainerError
from library.flow_matching import check_loss
from library.optim.optimizers import create_optimizer
from library.optim.schedules import create_scheduler
from library.placement.compile import check_backend
from library.placement.layout import choose_device, compute_dtype
from library.process import StopFlag, compute_deterministically
from library.sample_prompts import SamplePrompt, read_prompts
from library.training.reporting import ProgressLog
from library.training.trackers import check_trackers
from networks import factory


@dataclass(frozen=True, kw_only=True)
class Run:
    """What is known of a training before anything is loaded."""

    config: TrainerConfig
    prompts: list[SamplePrompt]
    device: torch.device
    dtype: torch.dtype
    progress: ProgressLog
    stop: StopFlag

    def on_item(self, done: int, total: int) -> None:
        """Report one more cached item, and stop here if that was requested."""
        self.progress.enter_part(Phase.CACHING, done, total)
        self.stop.check()


def check_run(config: TrainerConfig, progress: ProgressLog, stop: StopFlag) -> Run:
    """Refuse what can be refused before anything is loaded."""
    if config.run.deterministic:
        compute_deterministically()
    device = choose_device()
    dtype = compute_dtype(config.placement, device)
    if dtype == torch.float32 and config.placement.mixed_precision == MixedPrecision.BF16:
        print("this CPU multiplies bfloat16 matrices slowly; computing in float32", flush=True)
    check_settings(config)
    prompts = read_prompts(config.sample.sample_prompts) if config.sample.sample_prompts else []
    return Run(config=config, prompts=prompts, device=device, dtype=dtype, progress=progress, stop=stop)


def check_settings(config: TrainerConfig) -> None:
    """Raise TrainerError now for what would be refused only after minutes of loading: network, optimizer, schedule, loss, compiler, trackers."""
    factory.check(config)
    _check_weight_files(config)
    target = config.save.output_dir / lora_name(config.save.output_name)
    if target.is_dir():
        raise TrainerError(f"{target} is a folder, so no LoRA can be saved there; choose another --output_name or --output_dir.")
    check_loss(config.loss)
    check_backend(config.placement)
    check_trackers(config.log)
    stand_in = [{"params": [nn.Parameter(torch.zeros(1))], "lr": config.optim.learning_rate, "name": "unet"}]
    with redirect_stderr(StringIO()):  # the warnings are printed when the real ones are made
        create_scheduler(config.optim, create_optimizer(config.optim, stand_in), config.run.max_train_steps)


def _check_weight_files(config: TrainerConfig) -> None:
    named = [
        ("--network_weights", config.network.network_weights),
        *(("--base_weights", each.path) for each in config.network.base_weights),
    ]
    for flag, path in named:
        if path and not Path(path).exists():
            raise TrainerError(f"{flag} {path} is missing.")
