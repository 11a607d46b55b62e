"""Keeping the products of a checkpointed block spares their arithmetic and changes no bit."""

import psutil
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from library.models.flux1.layer_names import FLUX_PREFIX
from library.models.flux1.math import image_ids, text_ids
from library.models.flux1.transformer import FluxParams, product_bytes
from library.placement.activations import BlockCheckpointing, products_budget
from networks.lora_flux import LoRASpec, create_network
from tests.support.tiny_models import make_flux

WIDE = FluxParams(
    in_channels=64, context_dim=32, vec_dim=64, hidden_size=128, num_heads=2, mlp_dim=256, depth=1, depth_single_blocks=2, guidance_embed=True
)  # fmt: skip
NEVER, ALWAYS = 0, 1 << 40


class AttentionCounter(TorchDispatchMode):
    """Counts the attentions that are really computed; PyTorch's own counter knows none of the CPU's."""

    calls = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls += func is torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
        return func(*args, **(kwargs or {}))


def trained_flux():
    flux = make_flux(WIDE).to(torch.bfloat16)
    network = create_network({FLUX_PREFIX: flux}, LoRASpec(rank=4, alpha=2.0), seed=1)
    random = torch.Generator().manual_seed(9)
    for lora in network.loras:
        lora.lora_up.weight.data.copy_(torch.randn(lora.lora_up.weight.shape, generator=random) * 0.1)
    return flux, network


def step(flux, network):
    """Return the loss's gradients and the counted operations of one step over 64 + 72 tokens."""
    random = torch.Generator().manual_seed(7)
    img = torch.randn(1, 72, 64, generator=random).requires_grad_()
    txt, y = torch.randn(1, 64, 32, generator=random), torch.randn(1, 64, generator=random)
    with FlopCounterMode(display=False) as counter:
        with torch.autocast("cpu", torch.bfloat16):
            out = flux(img, image_ids(1, 16, 18), txt, text_ids(1, 64), torch.tensor([0.4]), y, torch.tensor([1.0]))
        out.float().square().mean().backward()
    gradients = [parameter.grad.clone() for parameter in network.parameters()]
    network.zero_grad()
    return gradients, counter.get_total_flops()


def test_kept_products_change_no_bit_and_are_not_computed_again():
    flux, network = trained_flux()
    plain, plain_flops = step(flux, network)
    flux.block_runner = BlockCheckpointing(budget_bytes=NEVER)
    full, full_flops = step(flux, network)
    flux.block_runner = BlockCheckpointing(budget_bytes=ALWAYS)
    kept, kept_flops = step(flux, network)
    for a, b, c in zip(plain, full, kept, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)
    assert full_flops > 1.3 * plain_flops
    assert kept_flops < 1.05 * plain_flops  # only the LoRA's narrow products and the modulations' single rows


def test_kept_attention_is_not_computed_again():
    flux, network = trained_flux()
    counts = []
    for budget in (NEVER, ALWAYS):
        flux.block_runner = BlockCheckpointing(budget_bytes=budget)
        with AttentionCounter() as counter:
            step(flux, network)
        counts.append(counter.calls)
    assert counts == [6, 3]  # three blocks


def test_small_budget_keeps_nothing():
    flux, network = trained_flux()
    needed = product_bytes(WIDE, 136, 2)
    counts = []
    for budget in (needed - 1, needed):
        flux.block_runner = BlockCheckpointing(budget_bytes=budget)
        counts.append(step(flux, network)[1])
    assert counts[0] > 1.2 * counts[1]


def test_flux_dev_at_512_px_keeps_five_gigabytes():
    dev = FluxParams(
        in_channels=64, context_dim=4096, vec_dim=768, hidden_size=3072, num_heads=24, mlp_dim=12288, depth=19, depth_single_blocks=38,
        guidance_embed=True,
    )  # fmt: skip
    assert 4.5e9 < product_bytes(dev, 1536, 2) < 5.5e9


def test_budget_is_share_of_free_host_memory_and_none_on_gpu():
    assert 0 < products_budget(torch.device("cpu")) < psutil.virtual_memory().total / 4
    assert products_budget(torch.device("cuda")) == 0
