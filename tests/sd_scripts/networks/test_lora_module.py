"""One LoRA beside a frozen layer: what it computes, and what it saves when it is split."""

import pytest
import torch

from networks.lora_module import LoRAModule, LoRATarget, SplitLoRAModule

X = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))


def target(rank, alpha, *, name="a", linear=None):
    torch.manual_seed(1)
    return LoRATarget(name=name, linear=linear or torch.nn.Linear(8, 20).requires_grad_(False), rank=rank, alpha=alpha)


@torch.no_grad()
def fill(module):
    for index, (_, up) in enumerate(module.factors()):
        up.copy_(torch.randn(up.shape, generator=torch.Generator().manual_seed(index)))
    return module


@torch.no_grad()
def test_lora_output_adds_scaled_up_down_product():
    frozen = target(3, 1.5).linear
    lora = fill(LoRAModule(target(3, 1.5, linear=frozen), seed=0))
    saved = lora.saved()
    expected = frozen(X) + X @ (0.5 * saved["lora_up.weight"] @ saved["lora_down.weight"]).T
    assert torch.allclose(lora(X), expected, atol=1e-5)
    lora.multiplier = 0.0
    assert torch.equal(lora(X), frozen(X))


@torch.no_grad()
def test_split_module_saves_one_module_of_same_effect():
    split = fill(SplitLoRAModule(target(2, 1.0), [8, 8, 4], seed=0))
    saved = split.saved()
    assert saved["lora_down.weight"].shape == (6, 8)
    assert saved["lora_up.weight"].shape == (20, 6)
    assert saved["alpha"] == 3.0
    whole = LoRAModule(target(6, 3.0), seed=0)
    whole.load_weights(saved)
    assert torch.allclose(whole(X), split(X), atol=1e-6)
    again = SplitLoRAModule(target(2, 1.0), [8, 8, 4], seed=9)
    again.load_weights(saved)
    assert torch.equal(again(X), split(X))


@torch.no_grad()
def test_different_alpha_is_compensated():
    lora = fill(LoRAModule(target(3, 1.5), seed=0))
    other = LoRAModule(target(3, 6.0), seed=0)
    other.load_weights(lora.saved())
    assert other.saved()["alpha"] == 6.0
    assert torch.allclose(other(X), lora(X), atol=1e-6)


def test_split_sizes_must_sum_to_layer_and_mixed_weights_cannot_be_split():
    with pytest.raises(ValueError, match="parts"):
        SplitLoRAModule(target(2, 1.0), [8, 8], seed=0)
    mixed = fill(LoRAModule(target(6, 3.0), seed=0)).saved()
    with pytest.raises(ValueError, match="mixed"):
        SplitLoRAModule(target(2, 1.0), [8, 8, 4], seed=0).load_weights(mixed)


def test_first_weights_depend_on_seed_and_name_only():
    one, same, other = (LoRAModule(target(3, 1.5, name=name), seed=0) for name in ("a", "a", "b"))
    assert torch.equal(one.lora_down.weight, same.lora_down.weight)
    assert not torch.equal(one.lora_down.weight, other.lora_down.weight)
    assert one.lora_up.weight.count_nonzero() == 0
