"""Puts a training together: data, models, network, optimizer, reporting and hooks."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from fluxgym.contract.codes import Phase
from library.config import TrainerConfig
from library.data.dataset import TrainingData, build_dataset
from library.errors import warn
from library.files import clear_leftovers
from library.flow_matching import validation_sigmas
from library.models.family import ModelFamily
from library.objective import BatchInputs, FlowMatchingLoss
from library.optim.averaging import Average
from library.optim.optimizers import create_optimizer, optimizer_warnings
from library.optim.schedules import create_scheduler, schedule_warnings
from library.process import StopFlag
from library.randomness import derived_seed
from library.sampling import ImageSampler
from library.training.checkpoint import TrainState
from library.training.compatibility import check_fixed, fixed_settings, other_settings, print_changed_settings
from library.training.hooks import Hooks, SampleHook, SaveHook, ValidationHook
from library.training.kohya_state import is_kohya_state
from library.training.learner import Learner
from library.training.loaded_models import LoadedModels, load_models
from library.training.metadata import fixed_metadata
from library.training.position import Position, check_batch, read_checkpoint, start_position
from library.training.preflight.context import TrainingContext, create_context
from library.training.preflight.models import find_fitting_family
from library.training.preflight.optimizer import try_schedule
from library.training.preflight.settings import CheckedSettings
from library.training.progress_log import ProgressLog
from library.training.reporting import Console, Reporter
from library.training.saving import Saver
from library.training.trackers import Trackers
from library.training.trainer import Trainer
from networks import factory
from networks.base import TrainedNetwork
from networks.factory import parameter_groups

LoadModels = Callable[[TrainingContext, TrainingData, ModelFamily], LoadedModels]


def build_trainer(settings: CheckedSettings, progress: ProgressLog, stop: StopFlag, load: LoadModels = load_models) -> Trainer:
    """Load everything and return a trainer at its start position.

    Raises:
        TrainerError: If settings, files or models cannot be used, as early as that can be known.
        StopRequested: If a stop was requested meanwhile.
    """
    config = settings.config
    context = create_context(settings, progress, stop)
    data = build_dataset(config, settings.datasets, warn)
    progress.total_steps = config.run.length(data.steps_per_epoch)[1]
    fixed = fixed_settings(config, data, context.device)
    checkpoint = _find_checkpoint(config, data, fixed)
    position = start_position(config, data.steps_per_epoch, checkpoint)
    try_schedule(config.optim, position.total_steps)
    progress.step = position.step
    progress.total_steps = position.total_steps
    progress.enter(Phase.LOADING)
    models = load(context, data, find_fitting_family(config))
    return _Setup(context=context, data=data, checkpoint=checkpoint, position=position, models=models, fixed=fixed).create_trainer()


def describe_dataset(settings: CheckedSettings) -> str:
    """Return what --debug_dataset prints: the data set in words.

    Raises:
        TrainerError: As build_trainer does.
    """
    create_context(settings, ProgressLog(None), StopFlag())
    return build_dataset(settings.config, settings.datasets, warn).describe()


def _find_checkpoint(config: TrainerConfig, data: TrainingData, fixed: dict[str, Any]) -> TrainState | None:
    """Return the checkpoint to resume from, None without --resume.

    Raises:
        TrainerError: If it cannot be used, or if its step is another position in the training under this configuration.
    """
    clear_leftovers(config.save.output_dir, config.save.output_name)  # a kill between two renames leaves them
    state = read_checkpoint(config, data.steps_per_epoch)
    if state is None or config.run.resume is None:
        return None
    if is_kohya_state(config.run.resume):
        message = f"resuming inexactly from a state of kohya's trainer at step {state.step}: it does not record the order of the images"
        print(message, flush=True)
    check_fixed(state, fixed, str(config.run.resume))
    check_batch(state, data.num_batches_per_epoch, config.run.resume)
    return state


@dataclass(frozen=True, kw_only=True)
class _Setup:
    """Creates the parts of a trainer from what is loaded.

    `checkpoint` is what the training resumes from, if it does; `fixed` are the settings that a resume must not change.
    """

    context: TrainingContext
    data: TrainingData
    checkpoint: TrainState | None
    position: Position
    models: LoadedModels
    fixed: dict[str, Any]

    def create_trainer(self) -> Trainer:
        """Create the trainer.

        Raises:
            TrainerError: If the checkpoint, the thumbnail or a tracker cannot be used.
        """
        learner = self._create_learner()
        saver = self._create_saver(learner.network)
        if self.checkpoint is not None:
            self._resume(learner, self.checkpoint)
        reporter = self._create_reporter()
        loss = self._create_loss(learner.network)
        return Trainer(
            data=self.data,
            inputs=loss.inputs,
            loss=loss,
            learner=learner,
            hooks=self._create_hooks(learner, saver, reporter, loss),
            reporter=reporter,
            stop=self.context.stop,
            position=self.position,
        )

    def _create_learner(self) -> Learner:
        """Create the network over the models, its optimizer and its schedule."""
        optim, seed = self.context.config.optim, self.context.config.run.seed
        torch.manual_seed(derived_seed(seed, "network"))  # for layers that draw without a generator of their own
        network = self._create_network()
        groups = parameter_groups(optim, network, self.models.family.lora_parts)
        optimizer = create_optimizer(optim, groups)
        for warning in (*optimizer_warnings(optim, groups), *schedule_warnings(optim, optimizer)):
            warn(warning)
        return Learner(
            network=network,
            optimizer=optimizer,
            scheduler=create_scheduler(optim, optimizer, self.position.total_steps),
            average=Average(network, optim.ema_decay) if optim.ema_decay else None,
            seed=seed,
            learning_rate=optim.learning_rate,
            max_grad_norm=optim.max_grad_norm,
        )

    def _create_network(self) -> TrainedNetwork:
        config, models = self.context.config, self.models
        network = factory.create(config.network, models.family.lora_parts, models.by_part(), seed=config.run.seed).to(self.context.device)
        return network.to(torch.bfloat16) if config.placement.full_bf16 else network

    def _create_saver(self, network: TrainedNetwork) -> Saver:
        config = self.context.config.save
        return Saver(config, network, self._metadata(), epoch_interval=config.epoch_interval(self.position.num_epochs))

    def _metadata(self) -> dict[str, str]:
        seed, data = self.context.config.run.seed, self.data
        figures = {
            "training_started_at": time.time(),
            "session_id": str(derived_seed(seed, "session", time.time_ns())),
            "num_train_images": data.num_train_images,
            "num_reg_images": data.num_reg_images,
            "num_batches_per_epoch": data.num_batches_per_epoch,
            "num_epochs": self.position.num_epochs,
            "max_train_steps": self.position.total_steps,
            "resolution": data.resolution,
            **data.metadata(),
        }
        return fixed_metadata(self.context.config, self.models.family.spec, figures)

    def _resume(self, learner: Learner, checkpoint: TrainState) -> None:
        """Restore the learner.

        Raises:
            TrainerError: If the checkpoint does not fit the network or the optimizer.
        """
        folder = self.context.config.run.resume
        assert folder is not None
        if not is_kohya_state(folder):
            print_changed_settings(checkpoint, other_settings(self.context.config, self.data))
        learner.resume(folder, checkpoint.step)
        if checkpoint.step == self.position.total_steps:
            print(f"the checkpoint is at step {checkpoint.step} of {checkpoint.step}: nothing is left to train", flush=True)

    def _create_reporter(self) -> Reporter:
        config, position, checkpoint = self.context.config, self.position, self.checkpoint
        folder = checkpoint.log_folder if checkpoint else ""
        trackers = Trackers(config.log, config.flag_values, log_folder=folder, step=position.step)
        losses = checkpoint.losses if checkpoint else []
        console = Console(position.step, position.total_steps, self.data.steps_per_epoch, losses)
        return Reporter(progress=self.context.progress, console=console, trackers=trackers)

    def _create_loss(self, network: TrainedNetwork) -> FlowMatchingLoss:
        config, models, device, seed = self.context.config, self.models, self.context.device, self.context.config.run.seed
        inputs = BatchInputs(models.family, device=device, seed=seed, vae=models.vae, encoders=models.encoders, train=models.train)
        return FlowMatchingLoss(
            models.family, models.transformer, network, inputs, config.loss, seed=seed, device=device, dtype=self.context.dtype
        )

    def _create_hooks(self, learner: Learner, saver: Saver, reporter: Reporter, loss: FlowMatchingLoss) -> Hooks:
        config, check = self.context.config, self.context.stop.check
        sample = SampleHook(config=config.sample, sampler=self._create_sampler(), learner=learner, reporter=reporter, check=check)
        save = SaveHook(config=config.save, saver=saver, learner=learner, reporter=reporter, state=self._state_to_record())
        validate = ValidationHook(
            config=config.validation,
            sigmas=validation_sigmas(config.loss.min_timestep, config.loss.max_timestep),
            data=self.data,
            inputs=loss.inputs,
            loss=loss,
            learner=learner,
            reporter=reporter,
            check=check,
        )
        return Hooks(step_order=(sample, save, validate), epoch_order=(save, sample, validate))

    def _create_sampler(self) -> ImageSampler:
        config, models = self.context.config, self.models
        return ImageSampler(
            family=models.family,
            transformer=models.transformer,
            vae=models.vae,
            prompts=self.context.settings.prompts,
            texts=models.prompts,
            seed=config.run.seed,
            dtype=self.context.dtype,
            output_dir=config.save.output_dir,
            output_name=config.save.output_name,
        )

    def _state_to_record(self) -> TrainState:
        """Return what every checkpoint of this training records, at its start position."""
        config, position = self.context.config, self.position
        return TrainState(
            step=position.step,
            epoch=position.epoch,
            batch_in_epoch=position.batch_in_epoch,
            total_steps=position.total_steps,
            seed=config.run.seed,
            fixed=self.fixed,
            settings=other_settings(config, self.data),
            begun_by=self.checkpoint.begun_by if self.checkpoint else config.run.start.flags(),
        )
