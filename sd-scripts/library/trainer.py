"""The training of a FLUX LoRA: what is loaded and let go in which order, the steps, and what happens at their ends.

Owns the loop. Every random number derives from (seed, step), and a checkpoint carries the place inside the epoch, so a resumed training does
exactly what the uninterrupted one would have done.
"""

import gc
import math
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from library import flow
from library.autoencoder import load_autoencoder
from library.checkpoint import TrainState, load_checkpoint, read_train_state
from library.console import Console
from library.dataset import Batch, build_dataset
from library.devices import autocast, choose_device, compute_dtype, load_base, save_dtype
from library.errors import TrainerError
from library.files import clear_leftovers
from library.flux_math import image_ids, pack_latents, text_ids, unpack_latents
from library.flux_model import open_flux
from library.metadata import fixed_metadata
from library.optimizers import clip_gradients, create_optimizer, create_scheduler, parameter_groups
from library.previews import Previews
from library.progress import ProgressLog
from library.randomness import generator
from library.sampling import read_prompts
from library.saving import Saver, epoch_suffix, step_suffix
from library.signals import StopFlag, StopRequested
from library.text_encoders import TextEncoders, encode_clip, load_text_encoders
from library.weights import open_weights
from networks.lora_flux import create_network, parse_network_args

T5_LENGTH_DEV, T5_LENGTH_SCHNELL = 512, 256


class Training:
    """One training from its arguments to its LoRA file."""

    def __init__(self, args: Namespace, progress: ProgressLog, stop: StopFlag) -> None:
        self.args, self.progress, self.stop = args, progress, stop
        self.device, self.dtype = choose_device(), compute_dtype(args)
        self.trains_clip = not args.network_train_unet_only
        self.prompts = read_prompts(args.sample_prompts) if args.sample_prompts else []
        self.data = build_dataset(args)
        self.steps_per_epoch = math.ceil(self.data.num_batches_per_epoch / args.gradient_accumulation_steps)
        self.num_epochs, self.total_steps = _length(args, self.steps_per_epoch)
        self.progress.total_steps = self.total_steps
        self.step = self.epoch = self.first_batch = 0

    def run(self) -> None:
        """Train and save; raises TrainerError for a user's mistake, StopRequested after the state was saved for a stop."""
        resumed = read_train_state(Path(self.args.resume)) if self.args.resume else None
        self.progress.step = resumed.step if resumed else 0
        self._prepare_data()
        self._prepare_network(resumed)
        try:
            self._train()
        except StopRequested:
            if self.step:
                self._save_state(step_suffix(self.step))
            raise
        self._finish()

    # -- before the first step -------------------------------------------------------------------------------------------------

    def _prepare_data(self) -> None:
        """Encode captions, then pictures, so that T5 and the transformer are never in memory together when outputs are cached."""
        args = self.args
        self.progress.enter("loading")
        encoders = self._load_encoders()
        if args.cache_text_encoder_outputs:
            self.data.cache_text(None if self.trains_clip else encoders.clip, encoders, self._on_item)
        self.previews = Previews(args, self.prompts, encoders)
        self.clip = encoders.clip if self.trains_clip or not args.cache_text_encoder_outputs else None
        self.encoders = None if args.cache_text_encoder_outputs else encoders
        if self.encoders is None:
            encoders.t5 = None
        del encoders
        _let_go()
        self.stop.check()
        self.vae = load_autoencoder(args.ae, dtype=torch.float32 if args.no_half_vae else self.dtype, device=self.device)
        if args.cache_latents:
            self.data.cache_latents(self.vae, self._on_item)
        self.stop.check()

    def _load_encoders(self) -> TextEncoders:
        args = self.args
        return load_text_encoders(
            args.clip_l,
            args.t5xxl,
            cache_dir=args.tokenizer_cache_dir,
            t5_max_length=t5_length(args),
            with_mask=args.apply_t5_attn_mask,
            dtype=self.dtype,
            device=self.device,
        )

    def _on_item(self, done: int, total: int) -> None:
        self.progress.enter_part("caching", done, total)
        self.stop.check()

    def _prepare_network(self, resumed: TrainState | None) -> None:
        args = self.args
        self.progress.enter("loading")
        self.flux = load_base(args, self.device, self.dtype)
        self.stop.check()
        self.network = create_network(
            self.flux,
            self.clip if self.trains_clip else None,
            rank=args.network_dim or 4,
            alpha=args.network_alpha,
            seed=args.seed,
            train_blocks=parse_network_args(args.network_args).get("train_blocks", "all"),
        ).to(self.device)
        if args.network_weights:
            self.network.load(open_weights(args.network_weights, "--network_weights"), args.network_weights)
        self.optimizer = create_optimizer(args, parameter_groups(args, self.network))
        self.scheduler = create_scheduler(args, self.optimizer, self.total_steps)
        self.saver = Saver(args, self.network, save_dtype(args), self._metadata())
        clear_leftovers(Path(args.output_dir), self.saver.name)
        if resumed is not None:
            self._take_up(resumed)

    def _take_up(self, state: TrainState) -> None:
        """Go on from a checkpoint; raises TrainerError when the settings differ in a way that gives its place another meaning."""
        for name, value in self._fixed().items():
            if state.fixed.get(name) != value:
                raise TrainerError(
                    f"--resume {self.args.resume}: the checkpoint was made with {name} = {state.fixed.get(name)}, now it is {value}; "
                    "resume with the settings and pictures that it was made with."
                )
        load_checkpoint(Path(self.args.resume), self.network, self.optimizer, self.scheduler)
        self.step, self.epoch, self.first_batch = state.step, state.epoch, state.batch_in_epoch
        self.progress.step = self.step
        if self.step >= self.total_steps:
            print(f"the checkpoint stands at step {self.step} of {self.total_steps}: nothing is left to train", flush=True)

    def _fixed(self) -> dict[str, Any]:
        """What a checkpoint's position means something under."""
        return {
            "seed": self.args.seed,
            "num_batches_per_epoch": self.data.num_batches_per_epoch,
            "gradient_accumulation_steps": self.args.gradient_accumulation_steps,
            "optimizer_type": (self.args.optimizer_type or "AdamW").lower(),
            "compiled_by": self.flux.compiled_by,
        }

    def _metadata(self) -> dict[str, str]:
        data, args = self.data, self.args
        figures = {
            "training_started_at": time.time(),
            "session_id": str(generator(args.seed, "session", time.time_ns()).initial_seed()),
            "num_train_images": data.num_train_images,
            "num_reg_images": data.num_reg_images,
            "num_batches_per_epoch": data.num_batches_per_epoch,
            "num_epochs": self.num_epochs,
            "max_train_steps": self.total_steps,
            "resolution": data.resolution,
            **data.metadata(),
        }
        return fixed_metadata(args, is_dev=self.flux.params.guidance_embed, figures=figures)

    # -- the steps -------------------------------------------------------------------------------------------------------------

    def _train(self) -> None:
        self.console = Console(self.step, self.total_steps, self.data.num_batches_per_epoch)
        with self.console:
            if self.step == 0 and self.prompts and self.args.sample_at_first:
                self._preview(f"{0:06d}")
            elif self.step and self.previews.is_due_at_step(self.step) and not self.previews.are_drawn(f"{self.step:06d}"):
                self._preview(f"{self.step:06d}")  # the stop came while they were drawn
            while self.epoch < self.num_epochs and self.step < self.total_steps:
                self._run_epoch()

    def _run_epoch(self) -> None:
        self.progress.enter("training", epoch=self.epoch + 1)  # the first step may take long; who watches is to know what it waits for
        micro_batches: list[Batch] = []
        for place, batch in enumerate(self.data.epoch(self.epoch, self.first_batch), self.first_batch + 1):
            micro_batches.append(batch)
            if len(micro_batches) == self.args.gradient_accumulation_steps or place == self.data.num_batches_per_epoch:
                self.first_batch = place
                self._step(micro_batches)
                micro_batches = []
                if self.step >= self.total_steps:
                    break
        self.epoch, self.first_batch = self.epoch + 1, 0
        self._end_epoch()

    def _step(self, micro_batches: list[Batch]) -> None:
        """One optimizer step over the batches that it accumulates, and what is due after it."""
        started = time.perf_counter()
        losses = [self._backward(batch, micro, len(micro_batches)) for micro, batch in enumerate(micro_batches)]
        loss = sum(losses) / len(losses)
        if not math.isfinite(loss):
            raise TrainerError(
                f"the loss became {loss} at step {self.step + 1}; the likely cause is a learning rate that is too high "
                f"(--learning_rate is {self.args.learning_rate}). Resume from an earlier checkpoint with a lower one.",
                reason_code="nan",
            )
        clip_gradients(self.network, self.args.max_grad_norm)
        rate = self.scheduler.get_last_lr()[0]
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.progress.step = self.step
        seconds = self.console.advance(loss, time.perf_counter() - started)
        self.progress.enter("training", epoch=self.epoch + 1, loss=loss, lr=rate, s_per_it=seconds)
        self._end_step()

    def _backward(self, batch: Batch, micro: int, num_micro: int) -> float:
        """Add one batch's gradients; returns its loss."""
        latents = self._latents(batch, micro)
        noise = torch.randn(latents.shape, generator=generator(self.args.seed, "noise", self.step, micro)).to(self.device)
        draws = generator(self.args.seed, "sigma", self.step, micro)
        sigmas = flow.sample_sigmas(self.args, len(latents), *latents.shape[-2:], draws).to(self.device)
        noisy = flow.add_noise(latents, noise, sigmas)
        with autocast(self.device, self.dtype):
            output = self._velocity(noisy, sigmas, batch)
        prediction, target, weights = flow.prediction_and_target(self.args, output.float(), noisy, latents, noise, sigmas)
        losses = flow.loss_by_picture(self.args, prediction, target, sigmas) * batch.loss_weights.to(self.device)
        loss = (losses if weights is None else losses * weights).mean()
        (loss / num_micro).backward()
        return loss.item()

    def _latents(self, batch: Batch, micro: int) -> Tensor:
        if batch.latents is not None:
            return batch.latents.to(self.device, torch.float32)
        with torch.no_grad():
            pixels = batch.pixels.to(self.device, next(self.vae.parameters()).dtype)
            return self.vae.encode(pixels, generator(self.args.seed, "vae", self.step, micro)).float()

    def _velocity(self, noisy: Tensor, sigmas: Tensor, batch: Batch) -> Tensor:
        """(B, 16, H, W) noisy latents -> (B, 16, H, W) velocity."""
        context, pooled, mask = self._text(batch)
        B, _, height, width = noisy.shape
        guidance = torch.full((B,), self.args.guidance_scale, device=self.device) if self.flux.params.guidance_embed else None
        tokens = pack_latents(noisy)
        if self.flux.gradient_checkpointing:
            tokens.requires_grad_(True)
        places = image_ids(B, height, width, self.device), text_ids(B, context.shape[1], self.device)
        velocity = self.flux(tokens, places[0], context, places[1], sigmas, pooled, guidance, mask)
        return unpack_latents(velocity, height, width)

    def _text(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return T5's states, CLIP's pooled output (with its LoRA, when that is trained) and T5's mask of a batch."""
        if self.encoders is not None:
            states = self.encoders.states(batch.captions)
            pooled = encode_clip(self.clip, states.clip_ids) if self.trains_clip else states.pooled
            return states.context, pooled, states.mask
        mask = batch.t5_mask.to(self.device) if self.args.apply_t5_attn_mask else None
        pooled = encode_clip(self.clip, batch.clip_ids.to(self.device)) if self.trains_clip else batch.clip_pooled.to(self.device)
        return batch.t5_out.to(self.device), pooled, mask

    # -- after a step, after an epoch, at the end ------------------------------------------------------------------------------

    def _end_step(self) -> None:
        if self.previews.is_due_at_step(self.step):
            self._preview(f"{self.step:06d}")
        every = self.args.save_every_n_steps
        if every and self.step % every == 0 and self.step < self.total_steps:
            self._save(step_suffix(self.step))
            self.saver.drop_old_steps(self.step)
        if self.step < self.total_steps:
            self.stop.check()

    def _end_epoch(self) -> None:
        every = self.args.save_every_n_epochs
        if every and self.epoch % every == 0 and self.epoch < self.num_epochs:
            self._save(epoch_suffix(self.epoch))
            self.saver.drop_old_epochs(self.epoch)
        if self.previews.is_due_at_epoch(self.epoch):
            self._preview(f"e{self.epoch:06d}")

    def _finish(self) -> None:
        self.progress.enter("saving")
        if self.args.save_state or self.args.save_state_on_train_end:
            self._save_state("")
        path = self.saver.save_lora("", epoch=self.num_epochs, step=self.step)
        self.progress.enter("done", epoch=self.num_epochs)
        print(f"saved {path}", flush=True)

    def _save(self, suffix: str) -> None:
        self.progress.enter("saving")
        self.saver.save_lora(suffix, epoch=self.epoch, step=self.step)
        if self.args.save_state:
            self._save_state(suffix)

    def _save_state(self, suffix: str) -> None:
        self.progress.enter("saving")
        state = TrainState(
            step=self.step,
            epoch=self.epoch,
            batch_in_epoch=self.first_batch,
            total_steps=self.total_steps,
            seed=self.args.seed,
            fixed=self._fixed(),
        )
        self.saver.save_state(suffix, self.optimizer, self.scheduler, state)

    def _preview(self, place: str) -> None:
        self.progress.enter("sampling", epoch=self.epoch + 1)
        clip = self.clip if self.trains_clip else None
        self.previews.draw(place, self.flux, self.vae, clip, self.dtype, self.stop.check)
        self.console.rest()


def t5_length(args: Namespace) -> int:
    """Return how many T5 tokens a caption has: as set, else what dev or schnell was made with. Refuses what is no FLUX model early."""
    _, params = open_flux(args.pretrained_model_name_or_path)
    return args.t5xxl_max_token_length or (T5_LENGTH_DEV if params.guidance_embed else T5_LENGTH_SCHNELL)


def _length(args: Namespace, steps_per_epoch: int) -> tuple[int, int]:
    """Return epochs and steps: --max_train_epochs, or else as many epochs as --max_train_steps needs."""
    if args.max_train_epochs:
        return args.max_train_epochs, args.max_train_epochs * steps_per_epoch
    return math.ceil(args.max_train_steps / steps_per_epoch), args.max_train_steps


def _let_go() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
