"""Sample pictures at the moments that the flags name, drawn with the LoRA as it stands.

T5's states of every prompt are made once, before T5 is let go, unless T5 is trained; CLIP's too, unless CLIP is trained.
"""

import glob
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from library.files import disk_errors
from library.memory.devices import autocast
from library.models.autoencoder import AutoEncoder
from library.models.flux_model import Flux
from library.models.text_encoders import ClipTextEncoder, TextEncoders, encode_clip
from library.sampling import Conditioning, SamplePrompt, draw_latents, noise_of, sample_path, to_image


class Previews:
    """The prompts of a training and how to draw them."""

    def __init__(self, args: Namespace, prompts: list[SamplePrompt], encoders: TextEncoders) -> None:
        self.args, self.prompts = args, prompts
        texts = [text for prompt in prompts for text in (prompt.prompt, prompt.negative_prompt)]
        self.live_encoders: TextEncoders | None = None  # when T5 is trained, prompts are encoded anew at each drawing
        self._states = {text: encoders.states(text) for text in dict.fromkeys(texts)} if prompts else {}

    def is_due_at_step(self, step: int) -> bool:
        """Say whether pictures are drawn after this step; epochs take precedence over steps, as in kohya."""
        every = self.args.sample_every_n_steps
        return bool(self.prompts and every and not self.args.sample_every_n_epochs and step % every == 0)

    def is_due_at_epoch(self, epoch: int) -> bool:
        """Say whether pictures are drawn after this epoch."""
        every = self.args.sample_every_n_epochs
        return bool(self.prompts and every and epoch % every == 0)

    def are_drawn(self, place: str) -> bool:
        """Say whether every picture of a place ("000120", "e000004") is in the folder already."""
        folder, name = Path(self.args.output_dir) / "sample", self.args.output_name
        return all(any(folder.glob(f"{glob.escape(name)}_{place}_{index:02d}_*.png")) for index in range(len(self.prompts)))

    @torch.no_grad()
    def draw(
        self, place: str, flux: Flux, vae: AutoEncoder, clip: ClipTextEncoder | None, dtype: torch.dtype, check: Callable[[], None]
    ) -> None:
        """Draw every prompt and write kohya's files; `check` is called between pieces of work and may raise."""
        device = next(vae.parameters()).device
        for index, prompt in enumerate(self.prompts):
            with autocast(device, dtype):
                words = self._conditioning(prompt.prompt, clip, device)
                guided = prompt.scale != 1.0
                no_words = self._conditioning(prompt.negative_prompt, clip, device) if guided else None
                latents = draw_latents(flux, prompt, words, no_words, noise_of(prompt, index, self.args.seed), check)
            path = sample_path(self.args.output_dir, self.args.output_name, place, index, prompt.seed)
            with disk_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                to_image(vae, latents).save(path)

    def _conditioning(self, text: str, clip: ClipTextEncoder | None, device: torch.device) -> Conditioning:
        stored = self.live_encoders.states(text) if self.live_encoders else self._states[text]
        pooled: Tensor = stored.pooled if clip is None else encode_clip(clip, stored.clip_ids.to(device))
        return Conditioning(stored.context.to(device), pooled.to(device), None if stored.mask is None else stored.mask.to(device))
