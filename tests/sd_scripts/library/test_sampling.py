"""Sample images: FLUX's schedule as diffusers has it, prompts that are encoded once or each time, file names."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from library.models.flux1.math import image_ids, pack_latents, text_ids, unpack_latents
from library.sample_prompts import SamplePrompt
from library.sampling import Conditioning, ImageSampler, PromptTexts, initial_noise, sample_latents, sample_path, schedule
from tests.support.tiny_models import PARAMS, make_flux


def test_the_schedule_equals_diffusers():
    mu, num_steps = 0.5 + 0.65 * (1024 - 256) / 3840, 20
    reference = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15)
    reference.set_timesteps(sigmas=np.linspace(1.0, 1 / num_steps, num_steps), mu=mu)
    assert np.allclose(schedule(num_steps, 1024, is_dev=True), reference.sigmas, atol=1e-6)


@torch.no_grad()
def test_drawing_equals_diffusers_scheduler_step_by_step():
    flux, prompt = make_flux(), SamplePrompt(prompt="", width=64, height=96, sample_steps=4, guidance_scale=2.0)
    words = Conditioning(torch.randn(1, 5, PARAMS.context_dim), torch.randn(1, PARAMS.vec_dim))
    noise = initial_noise(prompt, 0, 1)
    x, ids = pack_latents(noise), image_ids(1, 12, 8)
    reference = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    reference.set_timesteps(sigmas=np.linspace(1.0, 1 / 4, 4), mu=0.5 + 0.65 * (24 - 256) / 3840)
    for t in reference.timesteps:
        v = flux(x, ids, words.context, text_ids(1, 5), t[None] / 1000, words.pooled, torch.tensor([2.0]))
        x = reference.step(v, t, x, return_dict=False)[0]
    ours = sample_latents(flux, prompt, words, None, noise)
    assert torch.allclose(ours, unpack_latents(x, 12, 8), atol=1e-4)


def test_noise_belongs_to_the_seed_or_to_the_place():
    own = SamplePrompt(prompt="", width=64, height=64, seed=5)
    assert torch.equal(initial_noise(own, 0, 1), initial_noise(own, 3, 2))
    free = SamplePrompt(prompt="", width=64, height=64)
    assert not torch.equal(initial_noise(free, 0, 1), initial_noise(free, 1, 1))


def test_file_names_are_kohyas():
    assert re.fullmatch(r"cat_000120_03_\d{14}_7\.png", sample_path(Path("out"), "cat", "000120", 3, 7).name)
    assert re.fullmatch(r"cat_e000004_00_\d{14}\.png", sample_path(Path("out"), "cat", "e000004", 0, None).name)


class Encoders:
    """Stands in for the text encoders: every call gives another number."""

    def __init__(self):
        self.count = 0

    def clip(self, ids):
        return ids + 100.0

    def states(self, text):
        self.count += 1
        number = torch.tensor([float(self.count)])
        return SimpleNamespace(context=number, pooled=number, clip_ids=number, mask=None)


PROMPTS = [SamplePrompt(prompt="a cat"), SamplePrompt(prompt="a dog", negative_prompt="a cat")]


def test_prompt_texts_are_encoded_once_unless_they_are_trained():
    encoders, cpu = Encoders(), torch.device("cpu")
    texts = PromptTexts(PROMPTS, encoders, trains_clip=False, trains_t5=False)
    assert encoders.count == 3  # "a cat", "" and "a dog"
    assert texts.conditioning("a cat", cpu).context == texts.conditioning("a cat", cpu).context == 1
    with_clip = PromptTexts(PROMPTS, Encoders(), trains_clip=True, trains_t5=False).conditioning("a cat", cpu)
    assert (with_clip.context, with_clip.pooled) == (1, 101)
    with_t5 = PromptTexts(PROMPTS, Encoders(), trains_clip=False, trains_t5=True)
    assert [with_t5.conditioning("a cat", cpu).context for _ in range(2)] == [4, 5]


def test_images_are_complete_only_with_every_prompt(tmp_path):
    sampler = ImageSampler(
        flux=None, vae=None, prompts=PROMPTS, texts=None, seed=1, dtype=torch.float32, output_dir=tmp_path, output_name="c[a]t"
    )
    (tmp_path / "sample").mkdir()
    for index in (0, 1):
        assert not sampler.has_images("000002")
        sample_path(tmp_path, "c[a]t", "000002", index, None).touch()
    assert sampler.has_images("000002")
    assert not sampler.has_images("e000002")
