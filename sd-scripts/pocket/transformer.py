"""Pretraining of the pocket model's transformer and text encoders on cached latents, and guidance distillation.

First, all three networks are trained together by flow matching; 10 % of the captions are empty, for classifier-free guidance. Then the
transformer alone is distilled: its guidance embedding replaces the second pass of classifier-free guidance, as in FLUX.1 dev.
"""

import copy
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from transformers import CLIPTextConfig, T5Config, T5EncoderModel

from library.flow_matching import add_noise
from library.models.flux1.loading import ClipTextEncoder
from library.models.flux1.math import image_ids, pack_latents, text_ids
from library.models.flux1.text_encoders import Tokenizers, encode_clip, encode_t5
from library.models.flux1.transformer import Flux, FluxParams
from library.models.flux1.vae import VAE
from library.models.noise_shift import resolution_mu, shifted
from library.placement.cpu import fast_dtype
from library.placement.layout import autocast
from pocket.images import bundled_photos, random_crop
from pocket.scenes import random_scene
from pocket.schedule import cosine_with_warmup
from pocket.vae import PIXELS

PARAMS = FluxParams(
    in_channels=64,
    context_dim=128,
    vec_dim=64,
    hidden_size=192,
    num_heads=3,
    mlp_dim=768,
    depth=2,
    depth_single_blocks=6,
    guidance_embed=True,
)
NUM_TOKENS = 16  # of an image
PHOTO_SHARE, CAPTION_DROP = 0.2, 0.1
PRETRAIN_BATCH, PRETRAIN_RATE = 64, 1e-3
MAX_GUIDANCE, CFG_PER_GUIDANCE = 5.0, 0.6  # an embedded guidance g means a classifier-free scale of 1 + 0.6 (g - 1)
CPU = torch.device("cpu")
log = logging.getLogger(__name__)


@dataclass
class Networks:
    """The transformer and its text encoders."""

    flux: Flux
    clip: ClipTextEncoder
    t5: T5EncoderModel

    def modules(self) -> nn.ModuleList:
        """Return the three networks as one module."""
        return nn.ModuleList([self.flux, self.clip, self.t5])


@dataclass
class Corpus:
    """Cached latents (n, 16, 8, 8) and the token ids of their captions; the first `num_scenes` rows are scenes, the others photos."""

    latents: Tensor
    clip_ids: Tensor
    t5_ids: Tensor
    num_scenes: int

    def batch(self, size: int, random: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return random rows: latents, CLIP ids and T5 ids; a fraction CAPTION_DROP has the empty caption, the last row of ids."""
        scenes = torch.randint(self.num_scenes, (size,), generator=random)
        photos = torch.randint(self.num_scenes, len(self.latents), (size,), generator=random)
        rows = torch.where(torch.rand(size, generator=random) < PHOTO_SHARE, photos, scenes)
        words = torch.where(torch.rand(size, generator=random) < CAPTION_DROP, len(self.clip_ids) - 1, rows)
        return self.latents[rows], self.clip_ids[words], self.t5_ids[words]

    def empty(self, size: int) -> tuple[Tensor, Tensor]:
        """Return the CLIP ids and T5 ids of the empty caption, `size` times."""
        return self.clip_ids[-1:].expand(size, -1), self.t5_ids[-1:].expand(size, -1)


@dataclass(frozen=True)
class Noisy:
    """Noisy latents (B, 16, 8, 8) and their noise levels (B,)."""

    latents: Tensor
    sigmas: Tensor


@torch.no_grad()
def build_corpus(vae: VAE, tokenizers: Tokenizers, num_scenes: int, num_crops: int) -> Corpus:
    """Draw scenes, crop photos, encode the images and tokenize their captions."""
    random, photos = np.random.default_rng(2), bundled_photos()
    scenes = [random_scene(random, PIXELS) for _ in range(num_scenes)] + [random_crop(random, photos, PIXELS) for _ in range(num_crops)]
    pixels = torch.from_numpy(np.stack([scene.pixels for scene in scenes])).permute(0, 3, 1, 2)
    latents = torch.cat([vae.encode(part.float() / 127.5 - 1) for part in pixels.split(64)])
    captions = [scene.caption for scene in scenes] + [""]
    log.info("latents: mean %.3f, deviation %.3f", latents.mean(), latents.std())
    return Corpus(latents, tokenizers.clip(captions), tokenizers.t5(captions)[0], num_scenes)


def new_networks(tokenizers: Tokenizers) -> Networks:
    """Return untrained networks; FLUX's modulations and last layer are initialized to zero, as in DiT."""
    torch.manual_seed(3)
    flux = Flux(PARAMS)
    for name, module in flux.named_modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
            if name.endswith(("mod.lin", "modulation.lin", "adaLN_modulation.1", "final_layer.linear")):
                nn.init.zeros_(module.weight)
    clip = ClipTextEncoder(
        CLIPTextConfig(
            vocab_size=len(tokenizers.clip_tokenizer),
            hidden_size=PARAMS.vec_dim,
            intermediate_size=256,
            num_hidden_layers=2,
            num_attention_heads=1,
            hidden_act="quick_gelu",
            bos_token_id=0,
            eos_token_id=2,
        )
    )
    t5 = T5EncoderModel(
        T5Config(
            vocab_size=len(tokenizers.t5_tokenizer),
            d_model=PARAMS.context_dim,
            d_kv=64,
            d_ff=256,
            num_layers=2,
            num_heads=2,
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,
            is_encoder_decoder=False,
            use_cache=False,
        )
    )
    return Networks(flux, clip, t5)


def pretrain(networks: Networks, corpus: Corpus, num_steps: int, save: Callable[[Networks], None]) -> Networks:
    """Train all three networks by flow matching and return their moving average; calls `save` with it every 400 steps."""
    random = torch.Generator().manual_seed(4)
    average = copy.deepcopy(networks)
    parameters = [p for p in networks.modules().parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=PRETRAIN_RATE, betas=(0.9, 0.99), weight_decay=0.01)
    for step in range(num_steps):
        latents, *words = corpus.batch(PRETRAIN_BATCH, random)
        sigmas, noise = _sigmas(PRETRAIN_BATCH, random), torch.randn(latents.shape, generator=random)
        guidance = 1 + (MAX_GUIDANCE - 1) * torch.rand(PRETRAIN_BATCH, generator=random)
        with autocast(CPU, fast_dtype(torch.bfloat16, CPU)):
            predicted = velocity(networks, Noisy(add_noise(latents, noise, sigmas), sigmas), guidance, *words)
        loss = (predicted.float() - pack_latents(noise - latents)).square().mean()
        _update(optimizer, parameters, loss, PRETRAIN_RATE * cosine_with_warmup(step, num_steps, floor=0.01))
        _update_average(average, networks, min(0.999, (step + 1) / (step + 20)))
        if step % 50 == 0:
            log.info("flux %d/%d loss %.4f", step, num_steps, loss.item())
        if step % 400 == 399:
            save(average)
    return average


def distil_guidance(networks: Networks, corpus: Corpus, num_steps: int, *, batch_size: int = 48, learning_rate: float = 4e-4) -> Networks:
    """Train the transformer to predict the guided velocity in one pass; returns the networks with its moving average."""
    random = torch.Generator().manual_seed(5)
    teacher, average = copy.deepcopy(networks), copy.deepcopy(networks)
    parameters = list(networks.flux.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, betas=(0.9, 0.99), weight_decay=0.0)
    for step in range(num_steps):
        latents, clip_ids, t5_ids = corpus.batch(batch_size, random)
        sigmas, noise = _sigmas(batch_size, random), torch.randn(latents.shape, generator=random)
        guidance = 1 + (MAX_GUIDANCE - 1) * torch.rand(batch_size, generator=random)
        noisy = Noisy(add_noise(latents, noise, sigmas), sigmas)
        with autocast(CPU, fast_dtype(torch.bfloat16, CPU)):
            scale = 1 + CFG_PER_GUIDANCE * (guidance - 1)
            target = guided_velocity(teacher, noisy, scale, (clip_ids, t5_ids), corpus.empty(batch_size))
            with torch.no_grad():
                context = encode_t5(networks.t5, t5_ids), encode_clip(networks.clip, clip_ids)
            predicted = _flux(networks.flux, noisy, guidance, *context)
        loss = (predicted.float() - target).square().mean()
        _update(optimizer, parameters, loss, learning_rate * cosine_with_warmup(step, num_steps, floor=0.01))
        _update_average(average, networks, min(0.995, (step + 1) / (step + 20)))
        if step % 50 == 0:
            log.info("distil %d/%d loss %.4f", step, num_steps, loss.item())
    return average


def velocity(networks: Networks, noisy: Noisy, guidance: Tensor, clip_ids: Tensor, t5_ids: Tensor) -> Tensor:
    """Return the predicted velocity, packed: (B, 16, 8, 8) noisy latents -> (B, 16, 64)."""
    return _flux(networks.flux, noisy, guidance, encode_t5(networks.t5, t5_ids), encode_clip(networks.clip, clip_ids))


@torch.no_grad()
def guided_velocity(
    networks: Networks, noisy: Noisy, scale: Tensor, words: tuple[Tensor, Tensor], negative_words: tuple[Tensor, Tensor]
) -> Tensor:
    """Return unconditional + scale * (conditional - unconditional) in float32: classifier-free guidance (Ho and Salimans, 2022)."""
    one = torch.ones(len(noisy.latents))
    both = [torch.cat(pair) for pair in zip(words, negative_words, strict=True)]
    doubled = velocity(networks, Noisy(noisy.latents.repeat(2, 1, 1, 1), noisy.sigmas.repeat(2)), one.repeat(2), *both).float()
    conditional, unconditional = doubled.chunk(2)
    return unconditional + scale[:, None, None] * (conditional - unconditional)


def _flux(flux: Flux, noisy: Noisy, guidance: Tensor, context: Tensor, pooled: Tensor) -> Tensor:
    B, _, h, w = noisy.latents.shape
    tokens, ids = pack_latents(noisy.latents), (image_ids(B, h, w), text_ids(B, context.shape[1]))
    predicted: Tensor = flux(tokens, ids[0], context, ids[1], noisy.sigmas, pooled, guidance)
    return predicted


def _sigmas(size: int, random: torch.Generator) -> Tensor:
    u = torch.sigmoid(torch.randn(size, generator=random))
    even = torch.rand(size, generator=random)
    return torch.where(torch.rand(size, generator=random) < 0.25, even, shifted(u, math.exp(resolution_mu(NUM_TOKENS))))


def _update(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], loss: Tensor, learning_rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


@torch.no_grad()
def _update_average(average: Networks, networks: Networks, decay: float) -> None:
    pairs = zip(average.modules().parameters(), networks.modules().parameters(), strict=True)
    old, new = zip(*pairs, strict=True)
    torch._foreach_lerp_(list(old), list(new), 1 - decay)
