"""Sample images: kohya's prompt lines, FLUX's schedule as diffusers has it, file names."""

import re

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from library.errors import TrainerError
from library.models.flux1.math import image_ids, pack_latents, text_ids, unpack_latents
from library.sampling import Conditioning, SamplePrompt, initial_noise, parse_line, read_prompts, sample_latents, sample_path, schedule
from tests.support.tiny_models import PARAMS, make_flux


def test_a_line_with_every_flag():
    prompt = parse_line("a cat -- on a mat --w 700 --h 96 --d 7 --s 12 --g 1.5 --l 2.0 --n blurry, dark")
    assert prompt == SamplePrompt(
        prompt="a cat -- on a mat",
        width=688,
        height=96,
        seed=7,
        sample_steps=12,
        guidance_scale=1.5,
        scale=2.0,
        negative_prompt="blurry, dark",
    )


def test_defaults_are_kohyas():
    prompt = parse_line("a cat")
    assert (prompt.width, prompt.height, prompt.sample_steps, prompt.guidance_scale, prompt.scale) == (512, 512, 20, 3.5, 1.0)


@pytest.mark.parametrize(("line", "named"), [("a cat --w wide", "--w wide"), ("a cat --q 1", "--q"), ("a cat --s 0", "--s 0")])
def test_odd_flags_are_refused_by_name(line, named):
    with pytest.raises(TrainerError, match=named):
        parse_line(line)


def test_files_of_each_kind(tmp_path):
    (tmp_path / "p.txt").write_text("# a comment\n\na cat --d 1\na dog\n")
    assert [p.prompt for p in read_prompts(str(tmp_path / "p.txt"))] == ["a cat", "a dog"]
    (tmp_path / "p.toml").write_text('[prompt]\nwidth = 128\n[[prompt.subset]]\nprompt = "a cat"\n[[prompt.subset]]\nprompt = "a dog"\n')
    assert [(p.prompt, p.width) for p in read_prompts(str(tmp_path / "p.toml"))] == [("a cat", 128), ("a dog", 128)]
    (tmp_path / "p.json").write_text('[{"prompt": "a cat", "seed": 3}]')
    assert read_prompts(str(tmp_path / "p.json"))[0].seed == 3
    (tmp_path / "bad.json").write_text('[{"prompt": "a cat", "color": 3}]')
    with pytest.raises(TrainerError, match=r"bad\.json"):
        read_prompts(str(tmp_path / "bad.json"))
    with pytest.raises(TrainerError, match="missing"):
        read_prompts(str(tmp_path / "none.txt"))


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
    assert re.fullmatch(r"cat_000120_03_\d{14}_7\.png", sample_path("out", "cat", "000120", 3, 7).name)
    assert re.fullmatch(r"cat_e000004_00_\d{14}\.png", sample_path("out", "cat", "e000004", 0, None).name)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.json", '[{"prompt": "x", "sample_steps": "2"}]', "prompt 1: sample_steps must be a number from 1 to 1000, whole"),
        ("a.json", '[{"prompt": "x"}, {"prompt": 5}]', "prompt 2: prompt must be a text"),
        ("a.json", '[{"prompt": "x", "sample_steps": 0}]', "sample_steps"),
        ("a.json", '[{"prompt": "x", "width": 64.5}]', "width"),
        ("a.json", '[{"prompt": "x", "seed": -1}]', "seed"),
        ("a.json", '[{"prompt": "x", "scale": true}]', "scale"),
        ("a.json", '[{"prompt": "x", "steps": 3}]', "steps is not known"),
        ("a.json", '{"prompt": "x"}', "a list of tables"),
        ("a.json", "5", "a list of tables"),
        ("a.json", "[5]", "prompt 1 must be a table"),
        ("a.toml", "[prompt]\nsubset = 3", "a list of tables"),
        ("a.toml", '[[prompt]]\nprompt = "x"\nwidth = "wide"', "width"),
        ("a.toml", "prompt = [", "cannot be read"),
    ],
)
def test_tables_are_held_to_what_lines_are(name, text, words, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(TrainerError, match=words):
        read_prompts(str(tmp_path / name))


def test_a_folder_is_no_prompt_file_and_a_sampler_is_passed_over(tmp_path):
    with pytest.raises(TrainerError, match="directory"):
        read_prompts(str(tmp_path))
    assert parse_line("a cat --ss euler --s 3").sample_steps == 3
