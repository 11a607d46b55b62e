"""Checks of a training before anything is loaded, and their results: the device, the precision, the sample prompts."""

from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO

import torch
from torch import nn

from fluxgym.contract.codes import Phase
from library.config import MixedPrecision, TrainerConfig
from library.optim.optimizers import create_optimizer
from library.optim.schedules import create_scheduler
from library.placement.compile import check_backend
from library.placement.determinism import compute_deterministically
from library.placement.layout import choose_device, compute_dtype
from library.process import StopFlag
from library.sample_prompts import SamplePrompt, read_prompts
from library.training.progress_log import ProgressLog
from library.training.settings_check import check_settings


@dataclass(frozen=True, kw_only=True)
class TrainingContext:
    """What all parts of a training share from before anything is loaded: configuration, prompts, device, precision, progress, stop flag."""

    config: TrainerConfig
    prompts: list[SamplePrompt]
    device: torch.device
    dtype: torch.dtype
    progress: ProgressLog
    stop: StopFlag

    def on_item(self, done: int, total: int) -> None:
        """Report that one more item was cached.

        Raises:
            StopRequested, Fenced: As StopFlag.check does.
        """
        self.progress.enter_part(Phase.CACHING, done, total)
        self.stop.check()


def check_run(config: TrainerConfig, progress: ProgressLog, stop: StopFlag) -> TrainingContext:
    """Check a training's settings and files before anything is loaded, and return its context.

    Raises:
        TrainerError: If they cannot be used.
    """
    check_settings(config)
    if config.run.deterministic:
        compute_deterministically()
    device = choose_device()
    dtype = compute_dtype(config.placement, device)
    if dtype == torch.float32 and config.placement.mixed_precision == MixedPrecision.BF16:
        print("this CPU multiplies bfloat16 matrices slowly; computing in float32", flush=True)
    check_before_loading(config)
    prompts = read_prompts(config.sample.sample_prompts) if config.sample.sample_prompts else []
    return TrainingContext(config=config, prompts=prompts, device=device, dtype=dtype, progress=progress, stop=stop)


def check_before_loading(config: TrainerConfig) -> None:
    """Raise TrainerError now for a compiler, an optimizer or a schedule that would be refused only after minutes of loading."""
    check_backend(config.placement)
    stand_in = [{"params": [nn.Parameter(torch.zeros(1))], "lr": config.optim.learning_rate, "name": "unet"}]
    with redirect_stderr(StringIO()):  # they print their warnings when the training creates them
        create_scheduler(config.optim, create_optimizer(config.optim, stand_in), config.run.max_train_steps)
