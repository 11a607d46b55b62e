"""The arithmetic that the bench counts is what PyTorch counts."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from bench import limits
from bench.mini import make_flux
from library.models.flux1.math import image_ids, text_ids


def test_forward_of_mini_has_counted_operations():
    with torch.device("meta"):
        flux = make_flux().requires_grad_(False)
        img, txt, y = torch.empty(1, 1024, 64), torch.empty(1, 512, 4096), torch.empty(1, 768)
        with FlopCounterMode(display=False) as counter:
            flux(img, image_ids(1, 64, 64, "meta"), txt, text_ids(1, 512, "meta"), torch.empty(1), y, torch.empty(1))
    counted = sum(limits.forward_flop().values())
    assert counted <= counter.get_total_flops() < 1.03 * counted


def test_step_with_recompute_is_forward_twice_and_gradients_of_inputs():
    forward = limits.forward_flop()
    assert limits.step_flop(recompute=True) - limits.step_flop(recompute=False) == sum(forward.values())
    assert 0.5e12 < limits.step_flop(recompute=True) < 0.7e12
