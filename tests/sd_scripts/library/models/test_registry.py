"""A second model family is an object that keeps the interface and an entry in the list: here a made-up one that trains a step."""

import torch
from torch import nn

from library.config import ModelConfig
from library.models.family import TRANSFORMER, DeviceStore, LatentGeometry, SamplingDefaults, StepInputs
from library.models.flux1.family import Flux1Family
from library.models.layer_names import Layer, LayerNames, Stack
from library.models.registry import FAMILIES, FamilyEntry, find_family
from tests.support.tiny_models import make_flux, save

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
    layer_names, lora_prefixes = NAMES, {TRANSFORMER: "lora_tiny"}
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


def test_find_family_of_flux_files_is_flux1_and_of_another_kind_is_the_registered_one(tmp_path):
    save(make_flux(), tmp_path / "flux.safetensors")
    found = find_family(files(tmp_path / "flux.safetensors"), (*FAMILIES, ENTRY))
    assert isinstance(found, Flux1Family)
    assert found.version == "dev"
    assert find_family(files("model.tiny"), (*FAMILIES, ENTRY)).name == "tiny"


def test_a_second_family_trains_a_step_through_the_interface():
    family = find_family(files("model.tiny"), (*FAMILIES, ENTRY))
    transformer = family.load_transformer(files("model.tiny"), DeviceStore("cpu"), torch.float32)
    random = torch.Generator().manual_seed(2)
    latents = family.encode_image(None, torch.randn(2, 3, 8, 8, generator=random), None)
    text = family.finish_text(family.encode_text(None, ["a", "cat"], frozenset()), None)
    noise, sigmas = torch.randn(latents.shape, generator=random), torch.tensor([0.2, 0.7])
    noisy = (1 - sigmas[:, None, None, None]) * latents + sigmas[:, None, None, None] * noise
    optimizer = torch.optim.SGD(transformer.parameters(), lr=1e-2)
    losses = []
    for _ in range(2):
        velocity = family.predict_velocity(transformer, StepInputs(noisy=noisy, sigmas=sigmas, text=text, guidance=1.0))
        loss = (velocity - (noise - latents)).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[1] < losses[0]


def test_a_second_familys_table_names_its_own_layers():
    assert NAMES.diffusers_modules("lora_tiny_layers_0_mix") == ("transformer.blocks.0.to_q", "transformer.blocks.0.to_k")
    assert NAMES.kohya_module("transformer.blocks.0.to_k") == ("lora_tiny_layers_0_mix", 1)
    assert set(NAMES.recipes(["blocks.0.to_q.weight", "blocks.0.to_k.weight"])) == {"layers.0.mix.weight"}
