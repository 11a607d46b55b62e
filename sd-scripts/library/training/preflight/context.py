"""What all parts of a training share: checked settings, device, precision, progress and stop flag."""

from dataclasses import dataclass

import torch

from fluxgym.contract.codes import Phase
from library.config import MixedPrecision, TrainerConfig
from library.placement.compile import check_backend
from library.placement.determinism import compute_deterministically
from library.placement.layout import choose_device, compute_dtype
from library.process import StopFlag
from library.training.preflight.optimizer import try_schedule, try_step
from library.training.preflight.settings import CheckedSettings
from library.training.progress_log import ProgressLog


@dataclass(frozen=True, kw_only=True)
class TrainingContext:
    """What all parts of a training share from before anything is loaded."""

    settings: CheckedSettings
    device: torch.device
    dtype: torch.dtype
    progress: ProgressLog
    stop: StopFlag

    @property
    def config(self) -> TrainerConfig:
        """The configuration."""
        return self.settings.config

    def on_item(self, done: int, total: int) -> None:
        """Report that one more item was cached.

        Raises:
            StopRequested, Fenced: As StopFlag.check does.
        """
        self.progress.enter_part(Phase.CACHING, done, total)
        self.stop.check()


def create_context(settings: CheckedSettings, progress: ProgressLog, stop: StopFlag) -> TrainingContext:
    """Choose device and precision, check what can be checked before anything is loaded, and return the training's context.

    Raises:
        TrainerError: If compiler, optimizer or schedule cannot be used.
    """
    config = settings.config
    if config.run.deterministic:
        compute_deterministically()
    device = choose_device()
    dtype = compute_dtype(config.placement, device)
    if dtype == torch.float32 and config.placement.mixed_precision == MixedPrecision.BF16:
        print("this CPU multiplies bfloat16 matrices slowly; computing in float32", flush=True)
    check_backend(config.placement)
    check_optimizer(config, device)
    return TrainingContext(settings=settings, device=device, dtype=dtype, progress=progress, stop=stop)


def check_optimizer(config: TrainerConfig, device: torch.device, *, is_conclusive: bool = True) -> None:
    """Refuse an optimizer or a schedule that would fail only after minutes of loading.

    is_conclusive is False if `device` is not the one that trains: see try_step.

    Raises:
        TrainerError: Naming the flag.
    """
    dtype = torch.bfloat16 if config.placement.full_bf16 else torch.float32
    try_step(config.optim, torch.zeros(2, 2, device=device, dtype=dtype), is_conclusive=is_conclusive)
    try_schedule(config.optim, config.run.max_train_steps, tried=1)
