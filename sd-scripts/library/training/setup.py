"""Puts a training together: data, encoders, transformer, network, optimizer, loaded and freed in an order that fits in memory."""

import gc
import time
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO

import torch
from torch import nn

from fluxgym.contract.codes import Phase
from fluxgym.contract.files import lora_name
from library.config import MixedPrecision, TrainerConfig
from library.data.dataset import TrainingData, build_dataset
from library.errors import TrainerError
from library.files import clear_leftovers
from library.flow_matching import check_loss, validation_sigmas
from library.models.family import TRANSFORMER, ModelFamily, Part, TextEncoders
from library.models.registry import find_family
from library.objective import BatchInputs, FlowMatchingLoss
from library.optim.averaging import Average
from library.optim.optimizers import create_optimizer
from library.optim.schedules import create_scheduler
from library.placement.compile import check_backend
from library.placement.layout import choose_device, compute_dtype
from library.process import StopFlag, compute_deterministically
from library.randomness import derived_seed
from library.sample_prompts import SamplePrompt, read_prompts
from library.sampling import ImageSampler, PromptTexts
from library.training.base_model import BaseModel
from library.training.checkpoint import TrainState
from library.training.compatibility import check_fixed, fixed_settings, other_settings, print_changed_settings
from library.training.hooks import Hooks, SampleHook, SaveHook, ValidationHook
from library.training.kohya_state import is_kohya_state
from library.training.learner import Learner
from library.training.metadata import fixed_metadata
from library.training.position import Position, read_checkpoint, start_position, training_length
from library.training.reporting import Console, ProgressLog, Reporter
from library.training.saving import Saver
from library.training.trackers import Trackers, check_trackers
from library.training.trainer import Trainer
from networks import factory
from networks.base import TrainedNetwork
from networks.factory import NetworkPlan, parameter_groups


@dataclass(frozen=True, kw_only=True)
class _Run:
    """What is known of a training before anything is loaded."""

    config: TrainerConfig
    plan: NetworkPlan
    prompts: list[SamplePrompt]
    device: torch.device
    dtype: torch.dtype
    progress: ProgressLog
    stop: StopFlag

    def on_item(self, done: int, total: int) -> None:
        """Report one more cached item, and stop here if that was requested."""
        self.progress.enter_part(Phase.CACHING, done, total)
        self.stop.check()


@dataclass(frozen=True, kw_only=True)
class _Text:
    """What encodes text: `encoders` unless captions are cached and none is trained; `train` are those that the network trains."""

    prompts: PromptTexts
    encoders: TextEncoders | None
    train: frozenset[Part]


def build_trainer(config: TrainerConfig, progress: ProgressLog, stop: StopFlag) -> Trainer:
    """Load everything and return a trainer at its start position.

    Raises TrainerError for a mistake of the user's, as early as it can be seen, and StopRequested.
    """
    run = _check_run(config, progress, stop)
    data = build_dataset(config)
    checkpoint = _find_checkpoint(run, data)
    position = start_position(config, data.steps_per_epoch, checkpoint)
    progress.step, progress.total_steps = position.step, position.total_steps
    progress.enter(Phase.LOADING)
    base = BaseModel(find_family(config.model), config.model, config.network.base_weights, device=run.device, dtype=run.dtype)
    text = _load_text(run, data, base)
    vae = _load_vae(run, data, base)
    progress.enter(Phase.LOADING)
    transformer = base.load_transformer(config.placement)
    stop.check()
    learner = _create_learner(run, base.family, transformer, text, position)
    interval = config.save.epoch_interval(position.num_epochs)
    saver = Saver(config.save, learner.network, _metadata(run, data, base.family, position), epoch_interval=interval)
    if checkpoint is not None:
        _resume(run, data, learner, checkpoint)
    reporter = _create_reporter(run, data, position, checkpoint)
    inputs = BatchInputs(base.family, device=run.device, seed=config.run.seed, vae=vae, encoders=text.encoders, train=text.train)
    loss = FlowMatchingLoss(
        base.family, transformer, learner.network, inputs, config.loss, seed=config.run.seed, device=run.device, dtype=run.dtype
    )
    sampler = _create_sampler(run, base.family, transformer, vae, text.prompts)
    sample = SampleHook(config=config.sample, sampler=sampler, learner=learner, reporter=reporter, check=stop.check)
    save = SaveHook(
        config=config.save, saver=saver, learner=learner, reporter=reporter, state=_state_to_record(run, data, position, checkpoint)
    )
    validate = ValidationHook(
        config=config.validation,
        sigmas=validation_sigmas(config.loss.min_timestep, config.loss.max_timestep),
        data=data,
        inputs=inputs,
        loss=loss,
        learner=learner,
        reporter=reporter,
        check=stop.check,
    )
    hooks = Hooks(step_order=(sample, save, validate), epoch_order=(save, sample, validate))
    return Trainer(data=data, inputs=inputs, loss=loss, learner=learner, hooks=hooks, reporter=reporter, stop=stop, position=position)


def describe_dataset(config: TrainerConfig) -> str:
    """Return what --debug_dataset prints: the data set in words; raises TrainerError as build_trainer does."""
    _check_run(config, ProgressLog(None), StopFlag())
    return build_dataset(config).describe()


def _check_run(config: TrainerConfig, progress: ProgressLog, stop: StopFlag) -> _Run:
    """Refuse what can be refused before anything is loaded."""
    if config.run.deterministic:
        compute_deterministically()
    device = choose_device()
    dtype = compute_dtype(config.placement, device)
    if dtype == torch.float32 and config.placement.mixed_precision == MixedPrecision.BF16:
        print("this CPU multiplies bfloat16 matrices slowly; computing in float32", flush=True)
    plan = factory.plan(config)
    _check_before_loading(config)
    prompts = read_prompts(config.sample.sample_prompts) if config.sample.sample_prompts else []
    return _Run(config=config, plan=plan, prompts=prompts, device=device, dtype=dtype, progress=progress, stop=stop)


def _check_before_loading(config: TrainerConfig) -> None:
    """Raise TrainerError now for what would be refused only after minutes of loading: optimizer, schedule, loss, compiler, trackers."""
    target = config.save.output_dir / lora_name(config.save.output_name)
    if target.is_dir():
        raise TrainerError(f"{target} is a folder, so no LoRA can be saved there; choose another --output_name or --output_dir.")
    check_loss(config.loss)
    check_backend(config.placement)
    check_trackers(config.log)
    stand_in = [{"params": [nn.Parameter(torch.zeros(1))], "lr": config.optim.learning_rate, "name": "unet"}]
    with redirect_stderr(StringIO()):  # the warnings are printed when the real ones are made
        create_scheduler(config.optim, create_optimizer(config.optim, stand_in), config.run.max_train_steps)


def _find_checkpoint(run: _Run, data: TrainingData) -> TrainState | None:
    """Return the checkpoint to resume from, if its position means the same under this configuration."""
    run.progress.total_steps = training_length(run.config, data.steps_per_epoch)[1]
    clear_leftovers(run.config.save.output_dir, run.config.save.output_name)  # of a kill between two renames
    state = read_checkpoint(run.config, data.steps_per_epoch)
    if state is not None:
        check_fixed(state, fixed_settings(run.config, data), str(run.config.run.resume))
    return state


def _load_text(run: _Run, data: TrainingData, base: BaseModel) -> _Text:
    """Load the encoders and encode captions and prompts; cached captions free encoders before the transformer is loaded."""
    encoders, caches = base.load_text_encoders(), run.config.data.cache_text_encoder_outputs
    train = run.plan.parts(base.family.lora_prefixes) - {TRANSFORMER}
    if caches:
        data.cache_text(base.family, encoders, train, run.on_item)
    prompts = PromptTexts(base.family, encoders, run.prompts, train)
    if caches:
        encoders.release(train)
    text = _Text(prompts=prompts, encoders=encoders if train or not caches else None, train=train)
    del encoders
    _free_memory()
    run.stop.check()
    return text


def _load_vae(run: _Run, data: TrainingData, base: BaseModel) -> nn.Module:
    """Load the VAE, and encode the images if latents are cached."""
    vae = base.load_vae()
    if run.config.data.cache_latents:
        data.cache_latents(base.family, vae, run.on_item)
    run.stop.check()
    return vae


def _create_learner(run: _Run, family: ModelFamily, transformer: nn.Module, text: _Text, position: Position) -> Learner:
    """Create the network over the models, its optimizer and its schedule."""
    optim, seed = run.config.optim, run.config.run.seed
    torch.manual_seed(derived_seed(seed, "network"))  # for layers that draw without a generator of their own
    network = _create_network(run, family, transformer, text)
    optimizer = create_optimizer(optim, parameter_groups(optim, network))
    return Learner(
        network=network,
        optimizer=optimizer,
        scheduler=create_scheduler(optim, optimizer, position.total_steps),
        average=Average(network, optim.ema_decay) if optim.ema_decay else None,
        seed=seed,
        learning_rate=optim.learning_rate,
        max_grad_norm=optim.max_grad_norm,
    )


def _create_network(run: _Run, family: ModelFamily, transformer: nn.Module, text: _Text) -> TrainedNetwork:
    models = text.encoders.parts() if text.encoders is not None else {}
    by_prefix = {family.lora_prefixes[part]: model for part, model in models.items() if part in text.train}
    network = factory.create(run.config.network, transformer, by_prefix, seed=run.config.run.seed).to(run.device)
    return network.to(torch.bfloat16) if run.config.placement.full_bf16 else network


def _create_sampler(run: _Run, family: ModelFamily, transformer: nn.Module, vae: nn.Module, texts: PromptTexts) -> ImageSampler:
    return ImageSampler(
        family=family,
        transformer=transformer,
        vae=vae,
        prompts=run.prompts,
        texts=texts,
        seed=run.config.run.seed,
        dtype=run.dtype,
        output_dir=run.config.save.output_dir,
        output_name=run.config.save.output_name,
    )


def _resume(run: _Run, data: TrainingData, learner: Learner, checkpoint: TrainState) -> None:
    """Restore the learner; raises TrainerError if the checkpoint does not fit the network or the optimizer."""
    folder = run.config.run.resume
    assert folder is not None
    if not is_kohya_state(folder):
        print_changed_settings(checkpoint, other_settings(run.config, data))
    learner.resume(folder, checkpoint.step)
    if checkpoint.step == run.progress.total_steps:
        print(f"the checkpoint is at step {checkpoint.step} of {checkpoint.step}: nothing is left to train", flush=True)


def _create_reporter(run: _Run, data: TrainingData, position: Position, checkpoint: TrainState | None) -> Reporter:
    folder = checkpoint.log_folder if checkpoint else ""
    trackers = Trackers(run.config.log, run.config.given, log_folder=folder, step=position.step)
    losses = checkpoint.losses if checkpoint else []
    console = Console(position.step, position.total_steps, data.steps_per_epoch, losses)
    return Reporter(progress=run.progress, console=console, trackers=trackers)


def _state_to_record(run: _Run, data: TrainingData, position: Position, checkpoint: TrainState | None) -> TrainState:
    """Return what every checkpoint of this training records, at its start position."""
    return TrainState(
        step=position.step,
        epoch=position.epoch,
        batch_in_epoch=position.batch_in_epoch,
        total_steps=position.total_steps,
        seed=run.config.run.seed,
        fixed=fixed_settings(run.config, data),
        settings=other_settings(run.config, data),
        begun_by=checkpoint.begun_by if checkpoint else run.config.run.start.flags(),
    )


def _metadata(run: _Run, data: TrainingData, family: ModelFamily, position: Position) -> dict[str, str]:
    figures = {
        "training_started_at": time.time(),
        "session_id": str(derived_seed(run.config.run.seed, "session", time.time_ns())),
        "num_train_images": data.num_train_images,
        "num_reg_images": data.num_reg_images,
        "num_batches_per_epoch": data.num_batches_per_epoch,
        "num_epochs": position.num_epochs,
        "max_train_steps": position.total_steps,
        "resolution": data.resolution,
        **data.metadata(),
    }
    return fixed_metadata(run.config, is_dev=family.version == "dev", figures=figures)


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
