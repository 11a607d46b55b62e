"""A short loss curve by code that shares nothing with the trainer: diffusers' transformer, PEFT's LoRA, torch's AdamW, formulas written again.

`python -m tests.golden.loss_curve` writes loss_curve.json beside this file. The trainer is given the same weights, inputs and draws. One LoRA on
kohya's fused Linears (qkv) has one `down` for all, so the same is tied here between the Linears that diffusers splits them into.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).with_suffix(".json")
SEED, STEPS, RANK, ALPHA, RATE, SHIFT = 11, 12, 4, 2.0, 2e-2, 3.1582
PARTS = {
    "double_blocks": {
        "img_mod_lin": ("norm1.linear",), "img_attn_qkv": ("attn.to_q", "attn.to_k", "attn.to_v"), "img_attn_proj": ("attn.to_out.0",),
        "img_mlp_0": ("ff.net.0.proj",), "img_mlp_2": ("ff.net.2",),
        "txt_mod_lin": ("norm1_context.linear",), "txt_attn_qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
        "txt_attn_proj": ("attn.to_add_out",), "txt_mlp_0": ("ff_context.net.0.proj",), "txt_mlp_2": ("ff_context.net.2",),
    },
    "single_blocks": {
        "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"), "linear2": ("proj_out",), "modulation_lin": ("norm.linear",),
    },
}  # fmt: skip
STACKS = {"double_blocks": "transformer_blocks", "single_blocks": "single_transformer_blocks"}


def base_model():
    """Return the tiny transformer in BFL's form, its feed-forward four times as wide as diffusers has it."""
    from tests.support.tiny_models import PARAMS, make_flux

    return make_flux(replace(PARAMS, mlp_dim=4 * PARAMS.hidden_size))


def inputs(step: int) -> dict[str, Tensor]:
    """Return a step's latents (1, 16, 8, 12), T5 states (1, 9, 32) and pooled CLIP output (1, 64)."""
    random = torch.Generator().manual_seed(1000 + step)
    shapes = {"latents": (1, 16, 8, 12), "context": (1, 9, 32), "pooled": (1, 64)}
    return {name: torch.randn(shape, generator=random) for name, shape in shapes.items()}


def first_weights(name: str, shape: tuple[int, ...]) -> Tensor:
    """Return what a LoRA's tensor begins with; `up` is not zero, so that both sides learn from the first step."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(name.encode()))) * 0.05


def curve() -> list[float]:
    """Train and return the loss of every step."""
    from library.randomness import generator
    from tests.support.diffusers_reference import flux_in_diffusers

    base = base_model()
    model = flux_in_diffusers(base.state_dict(), base.params).requires_grad_(False)
    parameters = list(_add_lora(model, base.params.depth, base.params.depth_single_blocks))
    optimizer = torch.optim.AdamW(parameters, lr=RATE)
    losses = []
    for step in range(STEPS):
        given = inputs(step)
        noise = torch.randn(given["latents"].shape, generator=generator(SEED, "noise", step, 0))
        normal = torch.randn(1, generator=generator(SEED, "sigma", step, 0))
        even = torch.sigmoid(normal)
        sigma = SHIFT * even / (1 + (SHIFT - 1) * even)
        noisy = (1 - sigma) * given["latents"] + sigma * noise
        loss = F.mse_loss(_velocity(model, noisy, sigma, given), noise - given["latents"])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def _add_lora(model, num_double: int, num_single: int):
    """Put PEFT's LoRA on the Linears of every block, tied as in kohya's; yields the trainable tensors, each once."""
    from peft import LoraConfig, inject_adapter_in_model

    targets = sorted({leaf for part in PARTS.values() for leaves in part.values() for leaf in leaves})
    pattern = rf"(single_)?transformer_blocks\.\d+\.({'|'.join(target.replace('.', '[.]') for target in targets)})"
    inject_adapter_in_model(LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=pattern), model)
    for stack, count in (("double_blocks", num_double), ("single_blocks", num_single)):
        for index in range(count):
            for part, leaves in PARTS[stack].items():
                layers = [model.get_submodule(f"{STACKS[stack]}.{index}.{leaf}") for leaf in leaves]
                yield from _fill(f"lora_unet_{stack}_{index}_{part}", layers)


def _fill(name: str, layers: list):
    width, heights = layers[0].in_features, [layer.out_features for layer in layers]
    down = torch.nn.Parameter(first_weights(f"{name}.lora_down.weight", (RANK, width)))
    ups = first_weights(f"{name}.lora_up.weight", (sum(heights), RANK)).split(heights)
    yield down
    for layer, up in zip(layers, ups, strict=True):
        layer.lora_A["default"].weight = down
        layer.lora_B["default"].weight = torch.nn.Parameter(up.clone())
        yield layer.lora_B["default"].weight


def _velocity(model, noisy: Tensor, sigma: Tensor, given: dict[str, Tensor]) -> Tensor:
    """Call diffusers' transformer: (1, 16, H, W) noisy latents -> (1, 16, H, W)."""
    from diffusers import FluxPipeline

    _, channels, height, width = noisy.shape
    tokens = FluxPipeline._pack_latents(noisy, 1, channels, height, width)
    img_ids = FluxPipeline._prepare_latent_image_ids(1, height // 2, width // 2, noisy.device, noisy.dtype)
    out = model(
        hidden_states=tokens,
        timestep=sigma,
        guidance=torch.ones(1),
        pooled_projections=given["pooled"],
        encoder_hidden_states=given["context"],
        txt_ids=torch.zeros(given["context"].shape[1], 3),
        img_ids=img_ids,
    ).sample
    return FluxPipeline._unpack_latents(out, height * 8, width * 8, 8)


def main() -> None:
    """Write the golden file."""
    sys.path.insert(0, str(ROOT / "sd-scripts"))
    GOLDEN.write_text(json.dumps({"losses": curve()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
