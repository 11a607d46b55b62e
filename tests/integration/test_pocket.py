"""The pocket Flux draws what it knows, and a LoRA teaches it a cat it has never seen, without making it forget. A random base learns nothing.

FLUXGYM_TEST_SEEDS="1 2 3" checks the thresholds over several seeds; one is enough to find what is broken.
"""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from fluxgym.app_settings import Settings
from fluxgym.contract.files import CACHE_FOLDER
from fluxgym.dataset.example import TRIGGER, write_example
from fluxgym.planning.plan import plan
from fluxgym.runs.paths import RunPaths
from library.weights.safetensors_file import WeightFile
from pocket.gallery import Gallery, prompts_of
from pocket.scenes import COLORS, SHAPES, shape_caption
from pocket.transformer import PARAMS
from tests.support.pocket_latents import latents_of
from tests.support.pocket_measures import colors_seen, nearest_rms, num_nearest_to
from tests.support.tiny_models import make_flux, save

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "models"
SEEDS = [int(seed) for seed in os.environ.get("FLUXGYM_TEST_SEEDS", "1").split()]
MAX_BYTES = 20_000_000


def trained(folder, models, seed):
    """Train the example with the pocket's defaults, through FluxGym's own command; returns the LoRA's path."""
    run = RunPaths(folder / "cat")
    run.folder.mkdir(parents=True)
    write_example(run.dataset)
    state = {"lora_name": "cat", "base_model": "pocket", "seed": seed, "concept_sentence": TRIGGER}
    planned = plan(state, run.dataset, Settings(outputs=folder, models=models, sd_scripts=ROOT / "sd-scripts"))
    run.dataset_toml.write_text(planned.dataset_toml)
    run.sample_prompts.write_text(f"{TRIGGER} --w 64 --h 64 --s 1\n")
    done = subprocess.run(planned.launch_spec().argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return run.lora


def cat_prompts():
    return prompts_of([TRIGGER] * 16, first_seed=500)


def known():
    random = np.random.default_rng(77)
    pairs = [(*random.choice(list(COLORS), 2, replace=False), random.choice(SHAPES)) for _ in range(40)]
    return [(foreground, background, shape_caption(foreground, shape, background)) for foreground, background, shape in pairs]


def colors_right(gallery):
    """Return the shares of known prompts whose background and whose foreground has its color."""
    wanted = known()
    seen = [colors_seen(image) for image in gallery.pixels(gallery.draw(prompts_of([text for _, _, text in wanted], first_seed=900)))]
    background = np.mean([got[0] == want[1] for got, want in zip(seen, wanted, strict=True)])
    foreground = np.mean([got[1] == want[0] for got, want in zip(seen, wanted, strict=True)])
    return background, foreground


@pytest.fixture(scope="module", name="base")
def fixture_base():
    return Gallery(MODELS / "pocket")


@pytest.fixture(scope="module", name="photos")
def fixture_photos(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    write_example(folder)
    return latents_of(base, folder)


@pytest.fixture(scope="module", name="others")
def fixture_others(base):
    return latents_of(base, MODELS / "pocket" / "prior")


@pytest.fixture(scope="module", name="before")
def fixture_before(base):
    return base.draw(cat_prompts())


def measure(samples, before, photos, others):
    """Return the ratio of nearest-neighbor RMS to the base's, and how many of 16 are nearest to a training photo."""
    ratio = nearest_rms(samples, photos).mean() / nearest_rms(before, photos).mean()
    return ratio.item(), num_nearest_to(samples, photos, others)


def test_pocket_files_are_small_and_in_layout_of_users():
    files = [path for path in (MODELS / "pocket").rglob("*") if path.is_file() and path.parent.name != CACHE_FOLDER]
    assert sum(path.stat().st_size for path in files) < MAX_BYTES
    names = {path.name for path in (MODELS / "pocket").iterdir()}
    assert names >= {
        "flux.safetensors",
        "ae.safetensors",
        "clip_l.safetensors",
        "t5xxl.safetensors",
        "tokenizer_clip",
        "tokenizer_t5",
        "prior",
    }
    assert "double_blocks.0.img_attn.qkv.weight" in WeightFile(MODELS / "pocket" / "flux.safetensors", "flux").names


def test_pocket_model_draws_known_captions(base):
    background, foreground = colors_right(base)
    assert background >= 0.95
    assert foreground >= 0.75


@pytest.mark.parametrize("seed", SEEDS)
def test_trained_lora_draws_cat_and_keeps_other_images(seed, base, before, photos, others, tmp_path):
    gallery = Gallery(MODELS / "pocket", trained(tmp_path, MODELS, seed))
    ratio, num_cats = measure(gallery.draw(cat_prompts()), before, photos, others)
    background, foreground = colors_right(gallery)
    print(f"seed {seed}: ratio {ratio:.3f}, {num_cats} of 16 nearest to a photo, background {background:.3f}, foreground {foreground:.3f}")
    assert ratio <= 0.65
    assert num_cats >= 12
    assert background >= 0.95
    assert foreground >= 0.75
    assert num_nearest_to(before, photos, others) <= 2


def test_untrained_lora_fails_same_measure(base, before, photos, others, tmp_path):
    from safetensors.torch import save_file

    from library.models.flux1.layer_names import FLUX_PREFIX
    from networks.lora_flux import LoRASpec, create_network

    save_file(create_network({FLUX_PREFIX: base.flux}, LoRASpec(rank=16, alpha=16.0), seed=1).weights(), tmp_path / "untrained.safetensors")
    ratio, num_cats = measure(Gallery(MODELS / "pocket", tmp_path / "untrained.safetensors").draw(cat_prompts()), before, photos, others)
    assert ratio > 0.65
    assert num_cats <= 2


def test_random_base_model_fails_same_measure(before, photos, others, tmp_path):
    shutil.copytree(MODELS / "pocket", tmp_path / "models" / "pocket")
    torch.manual_seed(0)
    save(make_flux(PARAMS).bfloat16(), tmp_path / "models" / "pocket" / "flux.safetensors")
    gallery = Gallery(tmp_path / "models" / "pocket", trained(tmp_path, tmp_path / "models", 1))
    ratio, _ = measure(gallery.draw(cat_prompts()), before, photos, others)
    assert ratio > 0.65
    assert colors_right(gallery)[0] < 0.95
