"""FLUX.1 behind the interface of a model family: files, text, latents, predictions and swapped blocks."""

from dataclasses import replace

import pytest
import torch

from library.config import ModelConfig
from library.errors import TrainerError
from library.models.family import TRANSFORMER, DeviceStore, StepInputs
from library.models.flux1.family import Flux1Family, open_flux1
from library.models.flux1.math import image_ids, pack_latents, text_ids, unpack_latents
from library.models.flux1.text_encoders import CLIP, T5
from library.models.flux1.transformer import Flux
from library.weights.model_files import fingerprint
from tests.support.tiny_models import NAMES, PARAMS, make_flux, save, write_tiny_models

FAMILY = Flux1Family("dev")
STORE = DeviceStore("cpu")
NOTHING = frozenset()


@pytest.fixture(scope="module", name="files")
def fixture_files(tmp_path_factory):
    folder = write_tiny_models(tmp_path_factory.mktemp("models"))
    paths = {name: str(folder / file) for name, file in NAMES.items()}
    return ModelConfig(pretrained_model_name_or_path=paths["flux"], ae=paths["ae"], clip_l=paths["clip_l"], t5xxl=paths["t5xxl"])


@pytest.fixture(scope="module", name="encoders")
def fixture_encoders(files):
    return FAMILY.load_text_encoders(files, STORE, torch.float32)


@pytest.mark.parametrize(("is_dev", "version", "steps"), [(True, "dev", 50), (False, "schnell", 4)])
def test_version_is_known_by_guidance_embedding(is_dev, version, steps, files, tmp_path):
    save(make_flux(replace(PARAMS, guidance_embed=is_dev)), tmp_path / "flux.safetensors")
    family = open_flux1(replace(files, pretrained_model_name_or_path=str(tmp_path / "flux.safetensors")))
    assert family.version == version
    assert family.sampling_defaults.steps == steps


@pytest.mark.parametrize(
    ("version", "given", "expected"), [("dev", None, 512), ("schnell", None, 256), ("schnell", 300, 300), ("dev", 100, 100)]
)
def test_t5_length_is_versions_unless_given(version, given, expected, files, monkeypatch):
    lengths = []
    monkeypatch.setattr("library.models.flux1.family.load_text_encoders", lambda *_, t5_length: lengths.append(t5_length))
    Flux1Family(version).load_text_encoders(replace(files, t5xxl_max_token_length=given), STORE, torch.float32)
    assert lengths == [expected]


def test_open_flux1_of_another_file_raises_naming_it(files, tmp_path):
    (tmp_path / "flux.safetensors").write_text("no model")
    with pytest.raises(TrainerError, match=r"flux\.safetensors"):
        open_flux1(replace(files, pretrained_model_name_or_path=str(tmp_path / "flux.safetensors")))


def test_encode_text_names_its_tensors_as_caches_store_them(encoders):
    text = FAMILY.encode_text(encoders, ["a cat", "a dog"], NOTHING)
    assert {name: tuple(tensor.shape) for name, tensor in text.items()} == {"t5_out": (2, 48, 32), "clip_pooled": (2, 64)}
    assert set(FAMILY.encode_text(replace(encoders, with_mask=True), ["a cat"], NOTHING)) == {"t5_out", "clip_pooled", "t5_mask"}


def test_finish_text_of_trained_clip_encodes_its_ids(encoders):
    frozen, trained = (FAMILY.encode_text(encoders, ["a cat"], train) for train in (NOTHING, frozenset({CLIP})))
    assert set(trained) == {"t5_out", "clip_ids"}
    finished = FAMILY.finish_text(trained, encoders)
    assert torch.equal(finished["clip_pooled"], frozen["clip_pooled"])
    assert FAMILY.finish_text(frozen, None).keys() == frozen.keys()


def test_encode_text_of_trained_t5_has_gradients(files):
    encoders = FAMILY.load_text_encoders(files, STORE, torch.float32)
    encoders.t5.requires_grad_(True)
    assert FAMILY.encode_text(encoders, ["a cat"], frozenset({T5}))["t5_out"].requires_grad
    assert not FAMILY.encode_text(encoders, ["a cat"], NOTHING)["t5_out"].requires_grad


def test_release_frees_t5_unless_it_is_kept(files):
    encoders = FAMILY.load_text_encoders(files, STORE, torch.float32)
    assert set(encoders.parts()) == {CLIP, T5}
    encoders.release(frozenset({T5}))
    assert encoders.t5 is not None
    encoders.release(frozenset({CLIP}))
    assert set(encoders.parts()) == {CLIP}
    assert set(FAMILY.lora_parts) == {TRANSFORMER, CLIP, T5}


@torch.no_grad()
def test_predict_velocity_is_transformer_over_packed_latents():
    flux, random = make_flux(), torch.Generator().manual_seed(1)
    noisy, t5_out, pooled = (torch.randn(shape, generator=random) for shape in ((2, 16, 6, 4), (2, 7, 32), (2, 64)))
    sigmas = torch.tensor([0.3, 0.8])
    got = FAMILY.predict_velocity(
        flux, StepInputs(noisy=noisy, sigmas=sigmas, text={"t5_out": t5_out, "clip_pooled": pooled}, guidance=2.0)
    )
    ids = image_ids(2, 6, 4), text_ids(2, 7)
    expected = flux(pack_latents(noisy), ids[0], t5_out, ids[1], sigmas, pooled, torch.tensor([2.0, 2.0]))
    assert torch.equal(got, unpack_latents(expected, 6, 4))


def test_sampling_sigmas_of_dev_are_shifted_by_resolution_and_schnells_are_even():
    assert Flux1Family("schnell").sampling_sigmas(4, (64, 64)).tolist() == [1.0, 0.75, 0.5, 0.25, 0.0]
    small, large = (FAMILY.sampling_sigmas(4, size) for size in ((32, 32), (128, 128)))
    assert small[0] == large[0] == 1
    assert small[-1] == large[-1] == 0
    assert small[2] == pytest.approx(0.6225, abs=1e-4)  # e^0.5 / (1 + e^0.5): mu is 0.5 at 256 tokens
    assert large[2] == pytest.approx(0.7595, abs=1e-4)  # mu is 1.15 at 4096 tokens


def test_latent_size_of_flux_is_eighth_of_pixels():
    assert FAMILY.geometry.latent_size(1024, 768) == (96, 128)


def test_cache_identity_is_that_of_files_whose_results_are_cached(files):
    t5, clip = fingerprint(files.t5xxl), fingerprint(files.clip_l)
    assert FAMILY.text_cache_identity(files, NOTHING) == (t5, clip)
    assert FAMILY.text_cache_identity(files, frozenset({CLIP})) == (t5, "ids")
    assert FAMILY.image_cache_identity(files) == fingerprint(files.ae)


def names(num_double, num_single, *, blocks_to_swap):
    """Return the names of the swapped blocks of an empty model."""
    with torch.device("meta"):
        flux = Flux(replace(PARAMS, depth=num_double, depth_single_blocks=num_single))
    swapped = FAMILY.swapped_blocks(flux, blocks_to_swap)
    return [name for block in swapped for name, module in flux.named_modules() if module is block]


def numbered(kind, *indices):
    return [f"{kind}_blocks.{index}" for index in indices]


@pytest.mark.parametrize(("wanted", "num_double", "num_single"), [(1, 0, 2), (18, 9, 18), (22, 11, 22), (28, 14, 28), (35, 17, 36)])
def test_swapped_blocks_of_flux_are_last_of_each_kind_in_kohya_unit(wanted, num_double, num_single):
    swapped = names(19, 38, blocks_to_swap=wanted)
    assert swapped == numbered("double", *range(19 - num_double, 19)) + numbered("single", *range(38 - num_single, 38))


def test_swapped_blocks_of_zero_is_empty_list():
    assert names(19, 38, blocks_to_swap=0) == []


def test_swapped_blocks_beyond_kohya_maximum_are_refused():
    with pytest.raises(TrainerError, match=r"--blocks_to_swap 36 .* at most 35 .* 18 double and 36 single"):
        names(19, 38, blocks_to_swap=36)


def test_swapped_blocks_of_small_model_leave_one_of_each_kind():
    assert names(2, 6, blocks_to_swap=28) == ["double_blocks.1", *numbered("single", 1, 2, 3, 4, 5)]
    assert names(2, 6, blocks_to_swap=2) == ["double_blocks.1", *numbered("single", 4, 5)]
    assert names(1, 1, blocks_to_swap=35) == []
