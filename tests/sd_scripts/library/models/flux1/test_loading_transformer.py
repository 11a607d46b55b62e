"""A FLUX transformer is loaded from every file format and gives diffusers' own outputs; a file that is not one is named."""

import json
import re
import struct
from dataclasses import replace

import pytest
import torch
from diffusers import FluxTransformer2DModel
from safetensors.torch import save_file

from fluxgym.models.identify import identify
from library.errors import TrainerError
from library.models.flux1.loading import load_flux, open_flux
from library.models.flux1.transformer import Flux, FluxParams
from tests.support.diffusers_reference import flux_in_diffusers, random_flux, random_inputs, run_in_diffusers
from tests.support.tiny_models import PARAMS, make_flux

FLUX_1 = FluxParams(
    in_channels=64, context_dim=4096, vec_dim=768, hidden_size=3072, num_heads=24, mlp_dim=12288, depth=19, depth_single_blocks=38,
    guidance_embed=True,
)  # fmt: skip


def state_of(flux, prefix=""):
    return {prefix + key: tensor.contiguous() for key, tensor in flux.state_dict().items()}


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_load_accepts_names_with_and_without_prefix(tmp_path, prefix):
    flux = random_flux(guidance_embed=True)
    others = {"vae.encoder.conv_in.weight": torch.zeros(1), "text_encoders.clip_l.logit_scale": torch.zeros(1)} if prefix else {}
    save_file(state_of(flux, prefix) | others, tmp_path / "flux.safetensors")
    loaded = load_flux(str(tmp_path / "flux.safetensors"), dtype=torch.bfloat16, device="cpu")
    assert loaded.img_in.weight.dtype == torch.bfloat16
    assert not any(parameter.requires_grad or parameter.is_meta for parameter in loaded.parameters())
    assert torch.equal(loaded.single_blocks[2].linear1.weight, flux.single_blocks[2].linear1.weight.bfloat16())


@pytest.mark.parametrize("guidance_embed", [True, False], ids=["dev", "schnell"])
@pytest.mark.parametrize("form", ["folder", "pipeline", "single file"])
def test_diffusers_own_folder_gives_diffusers_own_output(form, guidance_embed, tmp_path):
    flux = random_flux(guidance_embed=guidance_embed)
    reference = flux_in_diffusers(flux.state_dict(), flux.params)
    folder = tmp_path / "transformer"
    reference.save_pretrained(folder, max_shard_size="50GB" if form == "single file" else "1MB")
    files = sorted(folder.glob("*.safetensors"))
    assert (len(files) == 1) == (form == "single file")
    path = {"folder": folder, "pipeline": tmp_path, "single file": files[0]}[form]
    inputs = random_inputs(flux)
    with torch.no_grad():
        ours = load_flux(str(path), dtype=torch.float32, device="cpu")(**inputs)
        theirs = FluxTransformer2DModel.from_pretrained(folder)(
            hidden_states=inputs["img"], encoder_hidden_states=inputs["txt"], pooled_projections=inputs["y"], timestep=inputs["timesteps"],
            img_ids=inputs["img_ids"][0], txt_ids=inputs["txt_ids"][0], guidance=inputs["guidance"],
        ).sample  # fmt: skip
    assert (ours - theirs).norm() / theirs.norm() < 1e-5


@torch.no_grad()
@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.float8_e5m2])
@pytest.mark.parametrize("scaled", [True, False])
def test_float8_file_equals_dequantized_weights(kind, scaled, tmp_path):
    flux = random_flux(guidance_embed=True)
    tensors = {}
    for name, tensor in state_of(flux).items():
        if name.endswith(".weight") and "blocks" in name:
            scale = tensor.abs().max() / 448 if scaled else torch.tensor(1.0)
            tensors[name] = (tensor / scale).to(kind)
            tensor.copy_(tensors[name].float() * scale)  # what diffusers is to compute with
            if scaled:
                tensors[name.removesuffix("weight") + "scale_weight"] = scale
        else:
            tensors[name] = tensor.half() if tensor.dim() == 1 else tensor  # a file of several precisions
            tensor.copy_(tensors[name])
    save_file(tensors | {"scaled_fp8": torch.zeros(2).to(kind)}, tmp_path / "flux.safetensors")
    loaded = load_flux(str(tmp_path / "flux.safetensors"), dtype=torch.float32, device="cpu")
    inputs = random_inputs(flux)
    theirs = run_in_diffusers(flux, inputs)
    assert (loaded(**inputs) - theirs).norm() / theirs.norm() < 1e-5


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("something.weight",), r"is not a FLUX transformer: it lacks the tensor img_in\.weight"),
        (("conditioner.embedders.0.x",), "it is a Stable Diffusion XL model"),
        (("lora_unet_double_blocks_0_img_mlp_0.lora_down.weight",), "it is a LoRA"),
        (("decoder.conv_in.weight", "encoder.conv_in.weight"), "it is a VAE"),
        (("encoder.block.0.layer.0.SelfAttention.q.weight",), "it is a T5 text encoder"),
    ],
)
def test_file_of_another_model_is_reported(names, words, tmp_path):
    save_file({name: torch.zeros(2, 2) for name in names}, tmp_path / "other.safetensors")
    with pytest.raises(TrainerError, match=words) as caught:
        load_flux(str(tmp_path / "other.safetensors"), dtype=None, device="cpu")
    assert caught.value.reason_code == "bad_model"


def test_flux_for_other_inputs_is_reported(tmp_path):
    save_file(state_of(make_flux(replace(PARAMS, in_channels=384))), tmp_path / "fill.safetensors")
    with pytest.raises(TrainerError, match="384 input channels"):
        open_flux(str(tmp_path / "fill.safetensors"))


@pytest.mark.parametrize("is_dev", [True, False])
@pytest.mark.parametrize("form", ["bfl", "diffusers"])
def test_flux_1_itself_is_known_by_its_header(form, is_dev, tmp_path):
    """A file of FLUX.1's real size, 24 GB of holes: names and shapes as they are published, of which not a byte is read."""
    with torch.device("meta"):
        model = Flux(replace(FLUX_1, guidance_embed=is_dev)) if form == "bfl" else FluxTransformer2DModel(guidance_embeds=is_dev)
    header, end = {}, 0
    for name, tensor in model.state_dict().items():
        header[name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [end, end + 2 * tensor.numel()]}
        end += 2 * tensor.numel()
    text = json.dumps(header).encode()
    with (tmp_path / "flux.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    assert end == pytest.approx(23.8e9, rel=0.01)
    assert open_flux(str(tmp_path / "flux.safetensors"))[1] == replace(FLUX_1, guidance_embed=is_dev)
    precision = f"FLUX.1 {'dev' if is_dev else 'schnell'} in bf16"
    assert identify(tmp_path / "flux.safetensors").words.startswith(precision)


def test_missing_tensor_is_reported(tmp_path):
    state = state_of(random_flux(guidance_embed=True))
    del state["single_blocks.1.linear2.bias"]
    save_file(state, tmp_path / "flux.safetensors")
    with pytest.raises(TrainerError, match=r"single_blocks\.1\.linear2\.bias is missing"):
        load_flux(str(tmp_path / "flux.safetensors"), dtype=None, device="cpu")


def test_missing_shard_of_diffusers_is_reported(tmp_path):
    flux = random_flux(guidance_embed=False)
    flux_in_diffusers(flux.state_dict(), flux.params).save_pretrained(tmp_path, max_shard_size="1MB")
    index = json.loads((tmp_path / "diffusion_pytorch_model.safetensors.index.json").read_text())
    lost = index["weight_map"]["proj_out.weight"]
    (tmp_path / lost).unlink()
    with pytest.raises(TrainerError, match=lost):
        load_flux(str(tmp_path), dtype=None, device="cpu")


def every_block_wrapped(name):
    return re.sub(r"(blocks\.\d+\.)", r"\1_orig_mod.", name)


WRAPPERS = {
    "compiled": "_orig_mod.{}".format,
    "distributed": "module.{}".format,
    "compiled in a program's model": "model.diffusion_model._orig_mod.{}".format,
    "under model.": "model.{}".format,
    "blocks compiled one by one": every_block_wrapped,
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("form", ["BFL's names", "diffusers' names"])
def test_model_that_was_saved_wrapped_is_read(wrapper, form, tmp_path):
    flux = random_flux(guidance_embed=True)
    state = state_of(flux) if form == "BFL's names" else flux_in_diffusers(flux.state_dict(), flux.params).state_dict()
    save_file({WRAPPERS[wrapper](name): tensor.contiguous() for name, tensor in state.items()}, tmp_path / "flux.safetensors")
    loaded = load_flux(str(tmp_path / "flux.safetensors"), dtype=torch.float32, device="cpu")
    assert all(torch.equal(tensor, flux.state_dict()[name]) for name, tensor in loaded.state_dict().items())


def test_bitsandbytes_4_bit_model_is_reported(tmp_path):
    state = state_of(make_flux())
    for name in [name for name, tensor in state.items() if tensor.dim() == 2]:
        size = state[name].numel() // 2
        state |= {name: torch.zeros(size, 1, dtype=torch.uint8), f"{name}.absmax": torch.ones(size // 32)}
        state |= {f"{name}.quant_map": torch.ones(16), f"{name}.quant_state.bitsandbytes__nf4": torch.zeros(9, dtype=torch.uint8)}
    save_file(state, tmp_path / "flux.safetensors")
    with pytest.raises(TrainerError, match=r"has 4-bit weights \(bitsandbytes NF4\); choose the model in bf16, fp16 or fp8"):
        open_flux(str(tmp_path / "flux.safetensors"))
