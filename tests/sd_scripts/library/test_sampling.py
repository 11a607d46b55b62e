"""Sample images: FLUX's schedule as diffusers has it, prompts that are encoded once or each time, file names."""

import re
from pathlib import Path

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from library.models.family import Part
from library.models.flux1.family import Flux1Family
from library.models.flux1.math import image_ids, pack_latents, text_ids, unpack_latents
from library.sample_prompts import SamplePrompt
from library.sampling import EncodedPrompt, ImageSampler, PromptTexts, initial_noise, sample_latents, sample_path
from tests.support.tiny_models import PARAMS, make_flux

FAMILY = Flux1Family("dev")


def test_schedule_equals_diffusers():
    mu, num_steps = 0.5 + 0.65 * (1024 - 256) / 3840, 20
    reference = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15)
    reference.set_timesteps(sigmas=np.linspace(1.0, 1 / num_steps, num_steps), mu=mu)
    assert np.allclose(FAMILY.sampling_sigmas(num_steps, (64, 64)), reference.sigmas, atol=1e-6)


@torch.no_grad()
def test_sampling_equals_diffusers_scheduler_at_each_step():
    flux, prompt = make_flux(), SamplePrompt(prompt="", width=64, height=96, sample_steps=4, guidance_scale=2.0)
    text = {"t5_out": torch.randn(1, 5, PARAMS.context_dim), "clip_pooled": torch.randn(1, PARAMS.vec_dim)}
    noise = initial_noise(FAMILY.geometry, prompt, 0, 1)
    x, ids = pack_latents(noise), image_ids(1, 12, 8)
    reference = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    reference.set_timesteps(sigmas=np.linspace(1.0, 1 / 4, 4), mu=0.5 + 0.65 * (24 - 256) / 3840)
    for t in reference.timesteps:
        v = flux(x, ids, text["t5_out"], text_ids(1, 5), t[None] / 1000, text["clip_pooled"], torch.tensor([2.0]))
        x = reference.step(v, t, x, return_dict=False)[0]
    ours = sample_latents(FAMILY, flux, EncodedPrompt(prompt=prompt, text=text), noise)
    assert torch.allclose(ours, unpack_latents(x, 12, 8), atol=1e-4)


def test_noise_depends_on_prompts_seed_or_on_its_index():
    own = SamplePrompt(prompt="", width=64, height=64, seed=5)
    assert torch.equal(*(initial_noise(FAMILY.geometry, own, *seeds) for seeds in ((0, 1), (3, 2))))
    free = SamplePrompt(prompt="", width=64, height=64)
    assert not torch.equal(*(initial_noise(FAMILY.geometry, free, *seeds) for seeds in ((0, 1), (1, 1))))


def test_sample_file_names_match_kohya():
    assert re.fullmatch(r"cat_000120_03_\d{14}_7\.png", sample_path(Path("out"), "cat", "000120", 3, 7).name)
    assert re.fullmatch(r"cat_e000004_00_\d{14}\.png", sample_path(Path("out"), "cat", "e000004", 0, None).name)


ENCODED, TOKENIZED = Part("encoded"), Part("tokenized")


class CountingFamily:
    """Encodes a text as the number of the call; a trained `tokenized` encoder adds 100 at the end."""

    tokenized_parts = frozenset({TOKENIZED})

    def __init__(self):
        self.count = 0

    def encode_text(self, encoders, captions, train):
        assert ENCODED not in train  # sampling needs no gradients
        self.count += 1
        return {"ids" if TOKENIZED in train else "state": torch.tensor([float(self.count)])}

    def finish_text(self, text, encoders):
        return {"state": text["ids"] + 100} if "ids" in text else text


def states_of(train, *, times=1):
    """Return what the prompt "a cat" has as its state, at each of several times, and the number of encoded texts."""
    family = CountingFamily()
    texts = PromptTexts(family, object(), PROMPTS, frozenset(train))
    return [texts.conditioning("a cat", torch.device("cpu"))["state"].item() for _ in range(times)], family.count


PROMPTS = [SamplePrompt(prompt="a cat"), SamplePrompt(prompt="a dog", negative_prompt="a cat")]


def test_prompt_texts_are_encoded_once_unless_they_are_trained():
    assert states_of([], times=2) == ([1, 1], 3)  # "a cat", "" and "a dog"
    assert states_of([TOKENIZED], times=2) == ([101, 101], 3)
    assert states_of([ENCODED], times=2) == ([4, 5], 5)
    assert states_of([ENCODED, TOKENIZED], times=2) == ([104, 105], 5)


def test_images_are_complete_only_with_every_prompt(tmp_path):
    sampler = ImageSampler(
        family=FAMILY,
        transformer=None,
        vae=None,
        prompts=PROMPTS,
        texts=None,
        seed=1,
        dtype=torch.float32,
        output_dir=tmp_path,
        output_name="c[a]t",
    )
    (tmp_path / "sample").mkdir()
    for index in (0, 1):
        assert not sampler.has_images("000002")
        sample_path(tmp_path, "c[a]t", "000002", index, None).touch()
    assert sampler.has_images("000002")
    assert not sampler.has_images("e000002")
