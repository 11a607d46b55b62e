"""What happens at fixed intervals of a training: sample images and the validation loss."""

import glob
import json
import sys
from argparse import Namespace
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from fluxgym.contract.codes import Phase
from fluxgym.contract.files import SAMPLE_FOLDER
from library.data.dataset import Batch, TrainingData
from library.files import disk_errors
from library.flow_matching import NUM_TIMESTEPS, add_noise
from library.models.flux1.text_encoders import ClipTextEncoder, Flux1TextEncoders, encode_clip
from library.models.flux1.transformer import Flux
from library.models.flux1.vae import VAE
from library.placement.layout import autocast
from library.randomness import generator
from library.sampling import Conditioning, SamplePrompt, initial_noise, sample_latents, sample_path, to_image
from library.training.reporting import ProgressLog

NUM_LEVELS = 4  # timesteps 200, 400, 600 and 800, as in kohya
Losses = Callable[[Batch, Tensor, Tensor, Tensor, Tensor], Tensor]


class Previews:
    """The prompts of a training and how to draw them."""

    def __init__(self, args: Namespace, prompts: list[SamplePrompt], encoders: Flux1TextEncoders) -> None:
        self.args, self.prompts = args, prompts
        texts = [text for prompt in prompts for text in (prompt.prompt, prompt.negative_prompt)]
        self.live_encoders: Flux1TextEncoders | None = None  # when T5 is trained, prompts are encoded again at each drawing
        self._states = {text: encoders.states(text) for text in dict.fromkeys(texts)} if prompts else {}

    def is_scheduled_at_step(self, step: int) -> bool:
        """Return True if images are drawn after this step; epochs take precedence over steps, as in kohya."""
        every = self.args.sample_every_n_steps
        return bool(self.prompts and every and not self.args.sample_every_n_epochs and step % every == 0)

    def is_scheduled_at_epoch(self, epoch: int) -> bool:
        """Return True if images are drawn after this epoch."""
        every = self.args.sample_every_n_epochs
        return bool(self.prompts and every and epoch % every == 0)

    def has_samples(self, place: str) -> bool:
        """Return True if every image of a place ("000120", "e000004") is in the folder already."""
        folder, name = Path(self.args.output_dir) / SAMPLE_FOLDER, self.args.output_name
        return all(any(folder.glob(f"{glob.escape(name)}_{place}_{index:02d}_*.png")) for index in range(len(self.prompts)))

    @torch.no_grad()
    def draw(self, place: str, flux: Flux, vae: VAE, clip: ClipTextEncoder | None, dtype: torch.dtype, check: Callable[[], None]) -> None:
        """Draw every prompt and write kohya's files; `check` is called between pieces of work and may raise."""
        device = next(vae.parameters()).device
        for index, prompt in enumerate(self.prompts):
            with autocast(device, dtype):
                words = self._conditioning(prompt.prompt, clip, device)
                guided = prompt.scale != 1.0
                negative_embeds = self._conditioning(prompt.negative_prompt, clip, device) if guided else None
                latents = sample_latents(flux, prompt, words, negative_embeds, initial_noise(prompt, index, self.args.seed), check)
            path = sample_path(self.args.output_dir, self.args.output_name, place, index, prompt.seed)
            with disk_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                to_image(vae, latents).save(path)

    def _conditioning(self, text: str, clip: ClipTextEncoder | None, device: torch.device) -> Conditioning:
        stored = self.live_encoders.states(text) if self.live_encoders else self._states[text]
        pooled: Tensor = stored.pooled if clip is None else encode_clip(clip, stored.clip_ids.to(device))
        return Conditioning(stored.context.to(device), pooled.to(device), None if stored.mask is None else stored.mask.to(device))


class Validation:
    """When the held-out images are due, and their loss."""

    def __init__(self, args: Namespace, data: TrainingData, progress: ProgressLog) -> None:
        self.args, self.data, self.progress = args, data, progress
        self.seed = args.seed if args.validation_seed is None else args.validation_seed
        self.last: tuple[int, float] | None = None  # step and loss of the last one

    def is_scheduled(self, step: int, epoch_ended: int = 0) -> bool:
        """Return True if to validate after a step, or at the end of an epoch (counted from 1); without a flag every epoch, as in kohya."""
        if not self.data.held_out or (self.last and self.last[0] == step):
            return False
        if epoch_ended:
            return epoch_ended % (self.args.validate_every_n_epochs or 1) == 0
        return bool(self.args.validate_every_n_steps) and step % self.args.validate_every_n_steps == 0

    def is_written(self, step: int) -> bool:
        """Return True if progress.jsonl holds the loss of a step already; if not, a stop came before it."""
        path = self.progress.path
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path and path.is_file() else []
        return any('"val_loss"' in line and _step_of(line) == step for line in lines)

    def run(self, step: int, latents: Callable[[Batch, None], Tensor], losses: Losses, check: Callable[[], None]) -> float:
        """Return the loss averaged over held-out images and noise levels, and write it as val_loss into progress.jsonl.

        latents(batch, None) makes a batch's latents (B, C, h, w); losses(batch, latents, noise, sigmas, noisy) compares -> (B,). check() may
        raise to stop, between batches.
        """
        found: list[Tensor] = []
        total = min(self.data.num_validation_batches, self.args.max_validation_steps or sys.maxsize)
        with torch.no_grad():
            for place, batch in enumerate(islice(self.data.validation_batches(), total)):
                self.progress.enter_part(Phase.VALIDATING, place, total)
                check()
                found += self._of_batch(batch, place, latents(batch, None), losses)
        loss = torch.cat(found).double().mean().item()
        self.last = step, loss
        self.progress.write(val_loss=loss)
        return loss

    def _of_batch(self, batch: Batch, place: int, latents: Tensor, losses: Losses) -> list[Tensor]:
        """The loss at each noise level: NUM_LEVELS tensors (B,)."""
        found = []
        for level, sigma in enumerate(self.sigmas()):
            random = generator(self.seed, "validation noise", place, level)
            noise = torch.randn(latents.shape, generator=random).to(latents.device)
            sigmas = torch.full((len(latents),), sigma, device=latents.device)
            found.append(losses(batch, latents, noise, sigmas, add_noise(latents, noise, sigmas)).cpu())
        return found

    def sigmas(self) -> list[float]:
        """The noise levels, evenly inside --min_timestep and --max_timestep."""
        low, high = self.args.min_timestep or 0, self.args.max_timestep or NUM_TIMESTEPS
        return [(low + (high - low) * part / (NUM_LEVELS + 1)) / NUM_TIMESTEPS for part in range(1, NUM_LEVELS + 1)]


def _step_of(line: str) -> int | None:
    try:
        return json.loads(line).get("step")
    except ValueError:
        return None  # torn by a kill
