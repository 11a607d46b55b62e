"""A second model family is an object that keeps the interface and an entry in the list: here a made-up one that trains a step."""

from pathlib import Path
from types import MappingProxyType

import pytest
import torch
from PIL import Image
from torch import nn

from library.config import ModelConfig, RateFlag
from library.data.dataset import Batch
from library.models.family import TRANSFORMER, DeviceStore, LatentGeometry, LoRAPart, ModelSpec, SamplingDefaults, StepInputs
from library.models.flux1.family import Flux1Family
from library.models.layer_names import Layer, LayerNames, Stack
from library.models.registry import FAMILIES, FamilyEntry, find_family
from library.objective import BatchInputs, FlowMatchingLoss
from library.sample_prompts import SamplePrompt
from library.sampling import ImageSampler, PromptTexts
from tests.support.tiny_models import make_flux, save
from tests.support.trainer_config import trainer_config

NAMES = LayerNames(
    prefix="lora_tiny",
    stacks=(Stack(name="layers", diffusers="blocks", layers=(Layer(name="mix", parts=("to_q", "to_k"), multiples=(1, 1)),)),),
    text=(),
    mark="blocks.0.to_q.weight",
)


class TinyFamily:
    """A transformer of two Linears over 4 latent channels, with captions as their lengths."""

    name, version = "tiny", "one"
    geometry = LatentGeometry(channels=4, pixels=2, patch=1)
    layer_names, tokenized_parts = NAMES, frozenset()
    lora_parts = MappingProxyType({TRANSFORMER: LoRAPart(prefix="lora_tiny", log_name="tiny", rate_flag=RateFlag.UNET)})
    spec = ModelSpec(base_model_version="tiny", model_type="one", architecture="tiny-one", implementation="here")
    sampling_defaults = SamplingDefaults(steps=2, guidance=1.0)

    def load_transformer(self, files, store, dtype):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 4)).to(store.device, dtype)
        store.prepare(model, self.blocks(model))
        return model

    def encode_text(self, encoders, captions, train):
        return {"lengths": torch.tensor([float(len(caption)) for caption in captions])}

    def finish_text(self, text, encoders):
        return dict(text)

    def encode_image(self, vae, pixels_BCHW, random):
        return nn.functional.pixel_unshuffle(pixels_BCHW, 2)[:, :4]

    def decode_latents(self, vae, latents_BCHW):
        return nn.functional.pixel_shuffle(latents_BCHW.repeat(1, 3, 1, 1), 2)

    def predict_velocity(self, transformer, inputs: StepInputs):
        x = inputs.noisy + (inputs.sigmas + inputs.text["lengths"])[:, None, None, None]
        return transformer(x.movedim(1, -1)).movedim(-1, 1)

    def sampling_sigmas(self, steps, latent_size):
        return torch.linspace(1, 0, steps + 1)

    def blocks(self, transformer):
        return list(transformer)


def is_tiny(files):
    return files.pretrained_model_name_or_path.endswith(".tiny")


ENTRY = FamilyEntry(name="tiny", recognizes=is_tiny, open=lambda files: TinyFamily())


def files(path):
    return ModelConfig(pretrained_model_name_or_path=str(path), ae="", clip_l="", t5xxl="")


def test_find_family_of_flux_files_is_flux1_and_of_another_kind_is_registered_one(tmp_path):
    save(make_flux(), tmp_path / "flux.safetensors")
    found = find_family(files(tmp_path / "flux.safetensors"), (*FAMILIES, ENTRY))
    assert isinstance(found, Flux1Family)
    assert found.version == "dev"
    assert find_family(files("model.tiny"), (*FAMILIES, ENTRY)).name == "tiny"


@pytest.mark.parametrize("is_cached", [True, False], ids=["cached", "encoded at each step"])
def test_second_family_trains_step_through_loss(is_cached):
    family, cpu = find_family(files("model.tiny"), (*FAMILIES, ENTRY)), torch.device("cpu")
    transformer = family.load_transformer(files("model.tiny"), DeviceStore(cpu), torch.float32)
    pixels, captions = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(2)), ["a", "cat"]
    given = {"pixels": pixels}
    if is_cached:
        given = {"latents": family.encode_image(None, pixels, None), "text": family.encode_text(None, captions, frozenset())}
    batch = Batch(captions=captions, loss_weights=torch.ones(2), **given)
    inputs = BatchInputs(family, device=cpu, seed=3, vae=nn.Identity(), encoders=nn.Identity())
    config = trainer_config("--model_prediction_type", "raw").loss
    loss = FlowMatchingLoss(family, transformer, None, inputs, config, seed=3, device=cpu, dtype=torch.float32)
    optimizer, losses = torch.optim.SGD(transformer.parameters(), lr=1e-2), []
    for _ in range(2):  # the same draws twice
        value = loss(batch, inputs.latents(batch, step=0, micro=0), step=0, micro=0).mean()
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(value.item())
    assert losses[1] < losses[0]


def test_second_family_draws_samples_separate_geometry(tmp_path):
    family, prompts = TinyFamily(), [SamplePrompt(prompt="a cat", width=64, height=96, sample_steps=2, seed=1)]
    transformer = family.load_transformer(files("model.tiny"), DeviceStore("cpu"), torch.float32)
    sampler = ImageSampler(
        family=family, transformer=transformer, vae=nn.Linear(1, 1), prompts=prompts,
        texts=PromptTexts(family, nn.Identity(), prompts, frozenset()), seed=1, dtype=torch.float32, output_dir=Path(tmp_path),
        output_name="cat",
    )  # fmt: skip
    sampler.draw("000001", lambda: None)
    assert sampler.has_images("000001")
    (image,) = (tmp_path / "sample").iterdir()
    assert Image.open(image).size == (64, 96)


def test_second_familys_table_names_its_own_layers():
    assert NAMES.diffusers_modules("lora_tiny_layers_0_mix") == ("transformer.blocks.0.to_q", "transformer.blocks.0.to_k")
    assert NAMES.kohya_module("transformer.blocks.0.to_k") == ("lora_tiny_layers_0_mix", 1)
    assert set(NAMES.recipes(["blocks.0.to_q.weight", "blocks.0.to_k.weight"])) == {"layers.0.mix.weight"}
