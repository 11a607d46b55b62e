"""Checks of a training before anything is loaded, and their results: the device, the precision, the sample prompts."""

from dataclasses import dataclass

import torch

from fluxgym.contract.codes import Phase
from library.config import MixedPrecision, TrainerConfig
from library.optim.trial import try_schedule, try_step
from library.placement.compile import check_backend
from library.placement.determinism import compute_deterministically
from library.placement.layout import choose_device, compute_dtype
from library.process import StopFlag
from library.sample_prompts import SamplePrompt, read_prompts
from library.training.checks_without_torch import check_without_torch
from library.training.progress_log import ProgressLog


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
    check_without_torch(config)
    if config.run.deterministic:
        compute_deterministically()
    device = choose_device()
    dtype = compute_dtype(config.placement, device)
    if dtype == torch.float32 and config.placement.mixed_precision == MixedPrecision.BF16:
        print("this CPU multiplies bfloat16 matrices slowly; computing in float32", flush=True)
    check_before_loading(config, device)
    prompts = read_prompts(config.sample.sample_prompts) if config.sample.sample_prompts else []
    return TrainingContext(config=config, prompts=prompts, device=device, dtype=dtype, progress=progress, stop=stop)


def check_before_loading(config: TrainerConfig, device: torch.device, *, is_conclusive: bool = True) -> None:
    """Refuse a compiler, an optimizer or a schedule that would fail only after minutes of loading.

    is_conclusive is False if `device` is not the one that trains: see try_step.

    Raises:
        TrainerError: Naming the flag.
    """
    check_backend(config.placement)
    dtype = torch.bfloat16 if config.placement.full_bf16 else torch.float32
    try_step(config.optim, torch.zeros(2, 2, device=device, dtype=dtype), is_conclusive=is_conclusive)
    try_schedule(config.optim, config.run.max_train_steps, tried=1)
