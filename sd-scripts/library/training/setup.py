"""What a training needs before its first step: data, encoders, transformer, LoRA, optimizer, loaded and let go in an order that memory allows.

Owns that order and where a resumed training is taken up. What a step does belongs to forward.py, the loop and its ends to trainer.py.
"""

import gc
import math
import time
from argparse import Namespace
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import torch
from torch import nn

from fluxgym.contract.codes import Phase
from fluxgym.contract.files import lora_name
from library.config import TrainerConfig
from library.data.dataset import build_dataset
from library.errors import TrainerError
from library.files import clear_leftovers
from library.flow_matching import check_loss
from library.models.registry import find_family
from library.optim.averaging import AVERAGE, Average
from library.optim.optimizers import create_optimizer
from library.optim.schedules import create_scheduler
from library.placement.compile import check_backend
from library.placement.layout import choose_device, compute_dtype
from library.process import StopFlag, compute_deterministically
from library.randomness import derived_seed
from library.sampling import read_prompts
from library.training.base_model import BaseModel
from library.training.checkpoint import TrainState, load_checkpoint
from library.training.compatibility import (
    check_fixed,
    fixed_settings,
    other_settings,
    print_changed_settings,
    read_position,
    start_of,
    start_position,
)
from library.training.hooks import Previews, Validation
from library.training.kohya_state import is_kohya_state, load_kohya_state
from library.training.metadata import fixed_metadata
from library.training.reporting import ProgressLog
from library.training.saving import Saver
from library.training.trackers import Trackers, check_trackers
from networks import factory
from networks.factory import parameter_groups


class Preparation:
    """The parts of one training, made from its arguments."""

    def __init__(self, config: TrainerConfig, progress: ProgressLog, stop: StopFlag) -> None:
        args = Namespace(**config.given)  # until every part takes its group of the configuration
        self.config, self.args, self.progress, self.stop = config, args, progress, stop
        if args.deterministic:
            compute_deterministically()
        self.device, self.dtype = choose_device(), compute_dtype(config.placement)
        self.plan = factory.plan(config)
        _check_before_loading(config, args)
        self.trains_clip = self.plan.trains_clip
        self.prompts = read_prompts(args.sample_prompts) if args.sample_prompts else []
        self.data = build_dataset(config)
        self.validation = Validation(args, self.data, progress)
        self.steps_per_epoch = math.ceil(self.data.num_batches_per_epoch / args.gradient_accumulation_steps)
        self.num_epochs, _ = _length(args, self.steps_per_epoch)
        self.epoch_interval = config.save.epoch_interval(self.num_epochs)
        self.start = config.run.start
        self._begin()

    def _begin(self) -> None:
        """Set the place where the flags want the training to begin, and how many steps it then has."""
        whole = _length(self.args, self.steps_per_epoch)[1]
        self.step, self.epoch, self.first_batch, self.total_steps = start_position(
            self.start, self.config.optim.gradient_accumulation_steps, self.steps_per_epoch, self.num_epochs, whole
        )
        self.progress.total_steps, self.progress.step = self.total_steps, self.step

    def load_position(self) -> TrainState | None:
        """Return the checkpoint's place to go on from, once it is known to fit; None at a start from the beginning."""
        clear_leftovers(Path(self.args.output_dir), self.args.output_name)  # a kill between two renames is put right here
        state = read_position(self.config, self.steps_per_epoch)
        if state is not None:
            check_fixed(state, fixed_settings(self.config, self.data), self.config.run.resume)
            self.start = start_of(state)
            self._begin()  # as the training that is resumed did
            self.progress.step = state.step
        return state

    def _prepare_data(self) -> None:
        """Encode captions, then images, so that T5 and the transformer are never in memory together when outputs are cached."""
        args = self.args
        self.progress.enter(Phase.LOADING)
        self.base = BaseModel(
            find_family(self.config.model), self.config.model, self.config.network.base_weights, device=self.device, dtype=self.dtype
        )
        encoders = self.base.load_text_encoders()
        if args.cache_text_encoder_outputs:
            self.data.cache_text(None if self.trains_clip else encoders.clip, encoders, self._on_item)
        self.previews = Previews(args, self.prompts, encoders)
        self.clip = encoders.clip if self.trains_clip or not args.cache_text_encoder_outputs else None
        self.encoders = None if args.cache_text_encoder_outputs else encoders
        if self.encoders is None:
            encoders.t5 = None
        del encoders
        _free_memory()
        self.stop.check()
        self.vae = self.base.load_vae()
        if args.cache_latents:
            self.data.cache_latents(self.vae, self._on_item)
        self.stop.check()

    def _on_item(self, done: int, total: int) -> None:
        self.progress.enter_part(Phase.CACHING, done, total)
        self.stop.check()

    def _prepare_network(self, resumed: TrainState | None) -> None:
        args = self.args
        self.progress.enter(Phase.LOADING)
        self.flux = self.base.load_transformer(self.config.placement)
        self.stop.check()
        torch.manual_seed(derived_seed(args.seed, "network"))  # for what draws without a generator of its own
        t5 = self.encoders.t5 if self.plan.trains_t5 else None
        self.previews.live_encoders = self.encoders if self.plan.trains_t5 else None
        self.network = factory.create(self.config.network, self.flux, self.clip, t5, seed=self.config.run.seed).to(self.device)
        if args.full_bf16:
            self.network.to(torch.bfloat16)
        self.average = Average(self.network, args.ema_decay) if args.ema_decay else None
        self.optimizer = create_optimizer(self.config.optim, parameter_groups(self.config.optim, self.network))
        self.scheduler = create_scheduler(self.config.optim, self.optimizer, self.total_steps)
        self.saver = Saver(self.config.save, self.network, self._metadata(), epoch_interval=self.epoch_interval)
        self.initial_digests = self.network.digests()
        if resumed is not None:
            self._take_up(resumed)
        self.losses = resumed.losses if resumed else []
        self.trackers = Trackers(self.config.log, self.config.given, log_folder=resumed.log_folder if resumed else "", step=self.step)

    def _take_up(self, state: TrainState) -> None:
        """Go on from a checkpoint; raises TrainerError when it does not fit the network or the optimizer."""
        folder = Path(self.args.resume)
        if is_kohya_state(folder):
            load_kohya_state(folder, self.network, self.optimizer, self.scheduler, state.step)
            parts = {}
        else:
            print_changed_settings(state, other_settings(self.config, self.data))
            parts = load_checkpoint(folder, self.network, self.optimizer, self.scheduler)
        if self.average is not None:
            self.average.load(parts.get(AVERAGE))
        self.step, self.epoch, self.first_batch = state.step, state.epoch, state.batch_in_epoch
        self.progress.step = self.step
        if self.step > self.total_steps:
            raise TrainerError(
                f"--resume {folder} stands at step {self.step}, beyond the {self.total_steps} that are asked for: nothing is left to train."
            )
        if self.step == self.total_steps:
            print(f"the checkpoint stands at step {self.step} of {self.total_steps}: nothing is left to train", flush=True)

    def _metadata(self) -> dict[str, str]:
        data = self.data
        figures = {
            "training_started_at": time.time(),
            "session_id": str(derived_seed(self.config.run.seed, "session", time.time_ns())),
            "num_train_images": data.num_train_images,
            "num_reg_images": data.num_reg_images,
            "num_batches_per_epoch": data.num_batches_per_epoch,
            "num_epochs": self.num_epochs,
            "max_train_steps": self.total_steps,
            "resolution": data.resolution,
            **data.metadata(),
        }
        return fixed_metadata(self.config, is_dev=self.flux.params.guidance_embed, figures=figures)


def _check_before_loading(config: TrainerConfig, args: Namespace) -> None:
    """Raise TrainerError now for what would be refused only after minutes of loading: optimizer, schedule, loss, compiler, trackers."""
    target = Path(args.output_dir) / lora_name(args.output_name)
    if target.is_dir():
        raise TrainerError(f"{target} is a folder, so no LoRA can be saved there; choose another --output_name or --output_dir.")
    check_loss(args)
    check_backend(args)
    check_trackers(config.log)
    stand_in = [{"params": [nn.Parameter(torch.zeros(1))], "lr": args.learning_rate, "name": "unet"}]
    with redirect_stderr(StringIO()):  # warnings come when the real ones are made
        create_scheduler(config.optim, create_optimizer(config.optim, stand_in), args.max_train_steps)


def _length(args: Namespace, steps_per_epoch: int) -> tuple[int, int]:
    """Return epochs and steps: --max_train_epochs, or else as many epochs as --max_train_steps needs."""
    if args.max_train_epochs:
        return args.max_train_epochs, args.max_train_epochs * steps_per_epoch
    return math.ceil(args.max_train_steps / steps_per_epoch), args.max_train_steps


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
