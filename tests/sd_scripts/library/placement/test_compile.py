"""Compiled blocks compute what uncompiled ones do; what cannot be compiled is reported."""

import pytest
import torch

from library.config import PlacementConfig
from library.errors import TrainerError, warn
from library.models.flux1.layer_names import FLUX_PREFIX
from library.models.flux1.math import image_ids, text_ids
from library.placement import compile
from library.placement.activations import BlockCheckpointing
from networks.lora_flux import LoRASpec, create_network
from tests.support import block_swap
from tests.support.tiny_models import PARAMS, flux_inputs, make_flux

pytestmark = pytest.mark.slow
CPU = torch.device("cpu")


def config(**changes):
    return PlacementConfig(**({"torch_compile": True, "dynamo_backend": "aot_eager"} | changes))


def gradients(flux, network):
    random = torch.Generator().manual_seed(7)
    img, txt, y = (torch.randn(shape, generator=random) for shape in ((1, 8, 64), (1, 5, 32), (1, 64)))
    out = flux(img.requires_grad_(), image_ids(1, 4, 8), txt, text_ids(1, 5), torch.tensor([0.4]), y, torch.tensor([1.0]))
    out.square().mean().backward()
    found = [lora.lora_up.weight.grad.clone() for lora in network.loras]
    network.zero_grad()
    return found


def test_gradients_are_those_of_uncompiled_blocks_with_products_kept_or_not():
    flux = make_flux()
    network = create_network({FLUX_PREFIX: flux}, LoRASpec(rank=4, alpha=1.0), seed=1)
    flux.block_runner = BlockCheckpointing()
    plain = gradients(flux, network)
    assert compile.compile_blocks(flux.blocks, config(), CPU, warn) == "aot_eager"
    flux.block_runner = BlockCheckpointing(is_compiled=True)
    full = gradients(flux, network)
    flux.block_runner = BlockCheckpointing(is_compiled=True, budget_bytes=1 << 40)
    kept = gradients(flux, network)
    for a, b, c in zip(plain, full, kept, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-7)
        assert torch.equal(b, c)


def test_compiled_blocks_that_are_swapped_compute_same():
    plain, swapped = (block_swap.make_swapped_flux(swapped=on, checkpointing=True) for on in (False, True))
    for flux, _, _ in (plain, swapped):
        compile.compile_blocks(flux.blocks, config(), CPU, warn)
    for _ in range(2):
        x = flux_inputs(PARAMS)
        assert block_swap.all_equal(block_swap.gradients_of(*plain[:2], x), block_swap.gradients_of(*swapped[:2], x))
    assert swapped[2].most_live == block_swap.MAX_RESIDENT_BLOCKS


def test_nothing_is_compiled_unless_asked_for():
    flux = make_flux()
    assert compile.compile_blocks(flux.blocks, config(torch_compile=False), CPU, warn) is None


def test_missing_compiler_is_reported_and_disables_compilation(monkeypatch):
    flux, warnings = make_flux(), []
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    assert compile.compile_blocks(flux.blocks, config(dynamo_backend="inductor"), CPU, warnings.append) is None
    assert len(warnings) == 1
    assert "C++ compiler" in warnings[0]


@pytest.mark.parametrize("name", ["tvm", "openxla", "ts", "dynamo_minifier_backend"])
def test_backend_that_cannot_compile_is_refused_with_one_line(name):
    with pytest.raises(TrainerError, match=f"^--dynamo_backend {name} cannot be used: .*; use inductor.$") as caught:
        compile.check_backend(config(dynamo_backend=name))
    assert "\n" not in str(caught.value)


def test_backend_that_can_compile_passes():
    compile.check_backend(config())


def test_unknown_compile_backend_is_reported():
    with pytest.raises(TrainerError, match="nvprims_nvfuser"):
        compile.compile_blocks(make_flux().blocks, config(dynamo_backend="nvprims_nvfuser"), CPU, warn)
